"""Models of timm, images alone: their towers, and how they are loaded and written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from timm.models import load_state_dict
from torch import Tensor, nn

from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.models.config import ModelConfig, TowerConfig, spec_of
from imagenet_captions.models.load import no_code
from imagenet_captions.models.model import Model, Tower
from imagenet_captions.models.weights import DESCRIPTION, put_weights, write_weights
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import read_json, require_file, write_json

CONFIG_FILE = "config.json"
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
# What a description says of pixels and classes; its other values name files and addresses.
_PIXELS = ("input_size", "fixed_input_size", "pool_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
_CLASSES = ("num_classes", "label_names")
# The arguments that say how a model is built. Others make timm read files and addresses, or wrap the model.
_ARCHITECTURE = frozenset(
    """
    act_layer attn_drop_rate class_token depth depths dims drop_path_rate drop_rate dynamic_img_pad
    dynamic_img_size embed_dim embed_dims fc_norm final_norm global_pool head_hidden_size
    head_init_scale img_size in_chans init_values kernel_sizes layers ls_init_value mlp_ratio
    mlp_ratios no_embed_class norm_eps norm_layer num_heads output_stride patch_drop_rate patch_size
    pos_drop_rate pos_embed pre_norm proj_drop_rate qk_norm qkv_bias reg_tokens stem_type stem_width
    strict_img_size window_size
    """.split()
)


def build_image(options: Mapping[str, Any], dim: int | None) -> tuple[nn.Module, nn.Module | None]:
    """Build a timm model with random weights as an image tower, and a linear projection if a shared space is wanted."""
    known_name(options["architecture"])
    arguments = architecture_arguments(options["arguments"])
    trunk: Any = timm.create_model(options["architecture"], pretrained=False, num_classes=0, **arguments)
    tower = Tower(trunk, _width_of(trunk))
    return tower, None if dim is None else nn.Linear(tower.width, dim, bias=False)


def architecture_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's arguments with tuples in place of JSON's lists; refuse those that do not say how it is built."""
    others = sorted(set(arguments) - _ARCHITECTURE)
    if others:
        raise InputError(
            f"the model's description passes {quoted(others[0])} to timm, which is not known to be harmless; remove it "
            "from the description, or build the model with timm and give its weights as timm:NAME@FILE"
        )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}


def _width_of(trunk: Any) -> int:
    """Return the number of features that a timm model gives to its classifier; some have a layer before it."""
    return int(getattr(trunk, "head_hidden_size", None) or trunk.num_features)


def known_name(name: str) -> None:
    """Refuse a name that timm does not have, with the closest known names; a folder or a repository is none."""
    if ":" in name or not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())


def named_config(name: str) -> ModelConfig:
    """Return the configuration of a timm model: images only, with the pixels that timm gives it."""
    known_name(name)
    pretrained: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    return _describe(f"timm:{name}", pretrained.to_dict(), name, {})


def _describe(shown: str, pretrained: dict[str, Any], architecture: str, arguments: Mapping[str, Any]) -> ModelConfig:
    """Return our configuration; the size of images is that of training, even if timm has another for evaluation."""
    pixels: Mapping[str, Any] = resolve_data_config(pretrained_cfg=pretrained)  # type: ignore[no-untyped-call]
    spec = spec_of(
        pixels["input_size"][1:],
        pixels["mean"],
        pixels["std"],
        pixels.get("interpolation", "bicubic"),
        crop_fraction=float(pixels.get("crop_pct") or 1.0),
        resize_mode="squash" if pixels.get("crop_mode") == "squash" else "shortest",
    )
    return ModelConfig(shown, spec, TowerConfig("timm", {"architecture": architecture, "arguments": dict(arguments)}))


def load(name: str, weights: str) -> Model:
    """Load one of timm's models with timm's weights or those of a file, or `org/repository` from the hub."""
    shown = f"timm:{name}"
    if weights or "/" not in name:
        known_name(name)
    if weights:
        return _with_file(name, {}, Path(weights), f"{shown}@{weights}")
    arguments: Mapping[str, Any] = {}
    with reaching(shown):
        if "/" in name:
            arguments = _arguments(read_json(Path(hf_hub_download(name, CONFIG_FILE)), dict[str, Any], DESCRIPTION))
            name = f"hf-hub:{name}"
        trunk: Any = timm.create_model(name, pretrained=True)
    return _as_model(trunk, trunk.pretrained_cfg["architecture"], arguments, shown)


def load_folder(folder: Path, shown: str) -> Model:
    """Load a folder in timm's format for the hub: config.json with an `architecture`, and weights."""
    whole = read_json(folder / CONFIG_FILE, dict[str, Any], DESCRIPTION)
    architecture = str(whole["architecture"])
    known_name(architecture)
    pretrained = whole.get("pretrained_cfg") or {}
    overlay = {key: pretrained[key] for key in (*_PIXELS, *_CLASSES) if key in pretrained}
    overlay |= {key: whole[key] for key in _CLASSES if key in whole}
    weights = next((folder / name for name in WEIGHTS_FILES if (folder / name).exists()), folder / WEIGHTS_FILES[0])
    return _with_file(architecture, _arguments(whole), weights, shown, overlay)


def _arguments(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments in a description of timm, without the number of classes, which the weights say."""
    found = whole.get("model_args") or {}
    return architecture_arguments({key: value for key, value in found.items() if key != "num_classes"})


def _with_file(
    name: str, options: Mapping[str, Any], path: Path, shown: str, overlay: dict[str, Any] | None = None
) -> Model:
    """Build the model of a file of weights; the classifier among them gives the number of classes."""
    state = load_state_dict(str(require_file(path, "weights")), use_ema=False, weights_only=True)
    known: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    # A distilled model has two classifiers, and the first counts.
    classifier = known.classifier if isinstance(known.classifier, (str, type(None))) else known.classifier[0]
    weight = state.get(f"{classifier}.weight")
    trunk: Any = timm.create_model(
        name,
        pretrained=False,
        num_classes=0 if weight is None else len(weight),
        pretrained_cfg_overlay=overlay,
        **options,
    )
    put_weights(trunk, state, path)
    return _as_model(trunk, name, options, shown)


def _as_model(trunk: Any, architecture: str, arguments: Mapping[str, Any], shown: str) -> Model:
    pretrained: dict[str, Any] = trunk.pretrained_cfg
    classifier, width = trunk.get_classifier(), _width_of(trunk)
    trunk.reset_classifier(0)
    config = _describe(shown, pretrained, architecture, arguments)
    model = Model(config, Tower(trunk, width), None, None, None)
    if isinstance(classifier, nn.Linear) and classifier.in_features == width:
        model.set_head(_class_names(pretrained, classifier.out_features))
        assert model.head is not None
        with torch.no_grad():
            model.head.weight.copy_(classifier.weight)
            if classifier.bias is not None:
                model.head.bias.copy_(classifier.bias)
    return model


def _class_names(pretrained: Mapping[str, Any], count: int) -> Sequence[str]:
    """Return the names that came with the weights, else the wnids of ImageNet's classes, else the labels' numbers."""
    names = pretrained.get("label_names")
    if isinstance(names, (list, tuple)) and len(names) == count == len(set(names)):
        return [str(name) for name in names]
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is not None:
        wnids: list[str] = ImageNetInfo(subset).label_names()  # type: ignore[no-untyped-call]
        return wnids
    return [str(label) for label in range(count)]


def write(model: Model, folder: Path) -> None:
    """Write a model's image tower, and its head where it has one, for `timm.create_model("local-dir:FOLDER")`."""
    image, spec, names = model.config.image, model.spec, list(model.head_classes or ())
    if image.kind != "timm":
        raise no_code(model, "timm")
    trunk: Any = copy.deepcopy(model.image.trunk)
    if model.head is not None:
        trunk.reset_classifier(len(names))
        trunk.get_classifier().load_state_dict(model.head.state_dict())
    write_weights(trunk.state_dict(), folder / WEIGHTS_FILES[0], {"format": "pt"})
    pretrained = {
        "input_size": [3, spec.size, spec.size],
        "mean": list(spec.mean),
        "std": list(spec.std),
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop_fraction,
        "crop_mode": "squash" if spec.resize_mode == "squash" else "center",
        "num_classes": len(names),
        **({"label_names": names} if names else {}),
    }
    about = {
        "architecture": image.options["architecture"],
        "num_classes": len(names),
        "num_features": int(trunk.num_features),
        "pretrained_cfg": pretrained,
        "model_args": dict(image.options["arguments"]),
    }
    write_json(folder / CONFIG_FILE, about)


def features(folder: Path) -> Callable[[Tensor, list[str]], tuple[Tensor, None]]:
    """Load the folder with timm; return what computes its outputs: the head's logits, or the features."""
    whole: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    return lambda pixels, _: (whole(pixels), None)
