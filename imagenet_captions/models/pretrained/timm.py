"""Load timm's models with weights: images only, with a classification head if the weights have one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import hf_hub_download
from timm.data.config import resolve_data_config
from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset
from torch import Tensor, nn

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.models import preprocess
from imagenet_captions.models.config import ModelConfig, TowerConfig
from imagenet_captions.models.model import Model
from imagenet_captions.models.towers.timm import TimmImage, architecture_arguments, known_name, width_of
from imagenet_captions.models.weights import DESCRIPTION, find_weights, put_weights, read_weights, state_of
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import read_json

CONFIG_FILE = "config.json"
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
# What a description says of pixels and classes; its other values name files and addresses.
_PIXELS = ("input_size", "fixed_input_size", "pool_size", "interpolation", "crop_pct", "crop_mode", "mean", "std")
_CLASSES = ("num_classes", "label_names")

log = logging.getLogger(__name__)


def load(name: str, weights: str) -> Model:
    """Load one of timm's models with timm's weights or those of a file, or `org/repository` from the hub.

    A file of torchvision's resnet50 is one of timm's: the names of the weights are the same.
    """
    if weights:
        known_name(name)
        state = state_of(read_weights(Path(weights)), Path(weights))
        return _with_state(name, {}, state, weights, f"timm:{name}@{weights}")
    shown = f"timm:{name}"
    if "/" not in name:
        known_name(name)
    arguments: Mapping[str, Any] = {}
    with reaching(shown):
        if "/" in name:
            arguments = _arguments(read_json(Path(hf_hub_download(name, CONFIG_FILE)), dict[str, Any], DESCRIPTION))
            name = f"hf-hub:{name}"
        try:
            trunk: Any = timm.create_model(name, pretrained=True)
        except RuntimeError as error:
            if "pretrained" not in str(error).lower():
                raise
            raise InputError(
                f"timm has no weights of {shown} ({shortened(error)}); give a file, as timm:NAME@FILE"
            ) from error
    return _as_model(trunk, trunk.pretrained_cfg["architecture"], arguments, shown)


def load_folder(folder: Path, shown: str) -> Model:
    """Load a folder in timm's format for the hub: config.json with an `architecture`, and weights."""
    whole = read_json(folder / CONFIG_FILE, dict[str, Any], DESCRIPTION)
    if "architecture" not in whole:
        raise InputError(f"{folder / CONFIG_FILE} names no architecture of timm; get the model again")
    known_name(str(whole["architecture"]))
    path = find_weights(folder, WEIGHTS_FILES)
    pretrained = whole.get("pretrained_cfg") or {}
    overlay = {key: pretrained[key] for key in (*_PIXELS, *_CLASSES) if key in pretrained}
    overlay |= {key: whole[key] for key in _CLASSES if key in whole}
    state = state_of(read_weights(path), path)
    return _with_state(str(whole["architecture"]), _arguments(whole), state, path, shown, overlay)


def _arguments(whole: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the arguments in a description of timm, without the number of classes, which the weights say."""
    found = whole.get("model_args") or {}
    return architecture_arguments({key: value for key, value in found.items() if key != "num_classes"})


def _with_state(
    name: str,
    options: Mapping[str, Any],
    state: Mapping[str, Tensor],
    source: object,
    shown: str,
    overlay: dict[str, Any] | None = None,
) -> Model:
    """Build the model of these weights; the classifier among them gives the number of classes."""
    classifier = _classifier_name(name)
    weight = state.get(f"{classifier}.weight") if classifier else None
    classes = 0 if weight is None else len(weight)
    trunk: Any = timm.create_model(
        name, pretrained=False, num_classes=classes, pretrained_cfg_overlay=overlay, **options
    )
    put_weights(trunk, state, source)
    return _as_model(trunk, name, options, shown)


def _classifier_name(name: str) -> str | None:
    """Return the name of the classifier's weights; a distilled model has two, and the first counts."""
    config: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    names: str | tuple[str, ...] | None = config.classifier
    return names if names is None or isinstance(names, str) else names[0]


def _as_model(trunk: Any, architecture: str, arguments: Mapping[str, Any], shown: str) -> Model:
    pretrained: dict[str, Any] = trunk.pretrained_cfg
    spec = preprocess.from_timm(resolve_data_config(pretrained_cfg=pretrained))  # type: ignore[no-untyped-call]
    classifier = trunk.get_classifier()
    width = width_of(trunk)
    trunk.reset_classifier(0)
    config = ModelConfig(shown, spec, TowerConfig("timm", {"architecture": architecture, "arguments": dict(arguments)}))
    model = Model(config, TimmImage(trunk, width), None, None, None)
    if isinstance(classifier, nn.Linear) and classifier.in_features == width:
        _take_head(model, classifier, _class_names(pretrained, classifier.out_features))
    elif not isinstance(classifier, nn.Identity):
        log.info(
            "%s: its classifier is more than one linear layer on its features, so it is loaded without a head", shown
        )
    return model


def _take_head(model: Model, classifier: nn.Linear, names: Sequence[str]) -> None:
    model.set_head(names)
    assert model.head is not None
    with torch.no_grad():
        model.head.weight.copy_(classifier.weight)
        if classifier.bias is not None:
            model.head.bias.copy_(classifier.bias)


def _class_names(pretrained: Mapping[str, Any], count: int) -> Sequence[str]:
    """Return the wnids of ImageNet's classes, else the names that came with the weights, else the labels' numbers."""
    names = pretrained.get("label_names")
    if isinstance(names, (list, tuple)) and len(names) == count == len(set(names)):
        return [str(name) for name in names]
    subset = infer_imagenet_subset({"num_classes": count})
    if subset is not None:
        wnids: list[str] = ImageNetInfo(subset).label_names()  # type: ignore[no-untyped-call]
        return wnids
    return [str(label) for label in range(count)]
