"""CLIP and ALIGN in transformers' files: config.json, model.safetensors, a tokenizer and an image processor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, CLIPConfig
from transformers.utils import logging

from imagenet_captions.errors import InputError
from imagenet_captions.models.exporting.byte_pairs import write_tokenizer
from imagenet_captions.models.exporting.export import no_text_tower
from imagenet_captions.models.model import Model
from imagenet_captions.models.pretrained.transformers import CONFIG_FILE
from imagenet_captions.models.towers.transformers import KINDS, config_from
from imagenet_captions.models.weights import put_weights
from imagenet_captions.storage.files import write_json

_PROCESSOR_FILE = "preprocessor_config.json"
_PIL_FILTERS = {"bilinear": 2, "bicubic": 3}
_IMAGE_MODULES = {"align": ("vision_model", None), "clip": ("vision_model", "visual_projection")}
# The settings of open_clip's towers that transformers' CLIP can say.
_VISION_SETTINGS = {"image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio", "timm_model_pretrained"}
_TEXT_SETTINGS = {
    "context_length",
    "vocab_size",
    "width",
    "heads",
    "layers",
    "mlp_ratio",
    "hf_model_pretrained",
    "tokenizer_kwargs",
}
_VISION_NAMES = {
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1": "embeddings.patch_embedding",
    "ln_pre": "pre_layrnorm",
    "ln_post": "post_layernorm",
}
_TEXT_NAMES = {
    "token_embedding": "embeddings.token_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final": "final_layer_norm",
}
_BLOCK_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def write(model: Model, folder: Path) -> None:
    """Write an ALIGN or a CLIP with a Vision Transformer for `transformers.AutoModel.from_pretrained(FOLDER)`.

    Raises InputError for any other model: transformers' CLIP has no ResNet tower.
    """
    kind, tokenizer = model.config.image.kind, model.config.tokenizer
    if tokenizer is None:
        raise no_text_tower(model, "transformers' CLIP and ALIGN")
    if kind in KINDS:
        whole = _same_code(model)
    elif kind == "open_clip":
        whole = _from_open_clip(model)
    else:
        raise InputError(f"transformers has no code for the {kind} image tower of {model.name}")
    with _quiet():
        whole.save_pretrained(folder)
    shutil.copymode(folder / CONFIG_FILE, folder / "model.safetensors")  # which only its owner may read otherwise
    write_tokenizer(tokenizer, folder)
    write_json(folder / _PROCESSOR_FILE, _preprocess(model, kind))


def features(folder: Path) -> Callable[[Tensor, list[str]], tuple[Tensor, Tensor]]:
    """Load the folder with transformers; return what embeds images and texts with it."""
    with _quiet():
        whole: Any = AutoModel.from_pretrained(folder).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def embed(pixels: Tensor, texts: list[str]) -> tuple[Tensor, Tensor]:
        tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        words = {key: tokens[key] for key in ("input_ids", "attention_mask")}
        return _points(whole.get_image_features(pixel_values=pixels)), _points(whole.get_text_features(**words))

    return embed


@contextmanager
def _quiet() -> Iterator[None]:
    """Show no bars of transformers' own."""
    logs: Any = logging  # untyped in some versions
    shown = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logs.enable_progress_bar()


def _points(found: Any) -> Tensor:
    """Return the points of the shared space: transformers 5 wraps them, and 4 gives them as they are."""
    points: Tensor = getattr(found, "pooler_output", found)
    return points


def _same_code(model: Model) -> Any:
    """Return transformers' own model with the weights of towers that are its code already."""
    kind = model.config.image.kind
    whole = KINDS[kind][1](config_from(kind, model.config.image.options["config"]))
    image, projection = _IMAGE_MODULES[kind]
    names = {"image.trunk.": f"{image}.", "text.trunk.": "text_model.", "text.projection.": "text_projection."}
    if projection:
        names["image_projection."] = f"{projection}."
    state = {
        theirs + key.removeprefix(ours): value
        for key, value in model.state_dict().items()
        for ours, theirs in names.items()
        if key.startswith(ours)
    }
    assert model.logit_scale is not None
    if kind == "align":
        state["temperature"] = torch.exp(-model.logit_scale.detach())
    else:
        state["logit_scale"] = model.logit_scale.detach()
    unused = {key: torch.zeros_like(value) for key, value in whole.state_dict().items() if ".pooler." in key}
    put_weights(whole, {**unused, **state}, model.name)
    return whole


def _from_open_clip(model: Model) -> Any:
    """Return transformers' CLIP with the weights of open_clip's Vision Transformer and text transformer."""
    assert model.config.text is not None
    vision, text = model.config.image.options["vision_cfg"], model.config.text.options["text_cfg"]
    _check_settings(model, vision, text)
    activation = "quick_gelu" if model.config.image.options.get("quick_gelu") else "gelu"
    width, words = int(vision["width"]), int(text.get("vocab_size", 49408))
    config = CLIPConfig(
        projection_dim=model.config.dim,
        vision_config={
            "hidden_size": width,
            "intermediate_size": int(width * vision.get("mlp_ratio", 4.0)),
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": width // vision.get("head_width", 64),
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
            "hidden_act": activation,
            "projection_dim": model.config.dim,
        },
        text_config={
            "vocab_size": words,
            "hidden_size": text["width"],
            "intermediate_size": int(text["width"] * text.get("mlp_ratio", 4.0)),
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "max_position_embeddings": text.get("context_length", 77),
            "hidden_act": activation,
            "projection_dim": model.config.dim,
            "bos_token_id": words - 2,
            "eos_token_id": words - 1,
            "pad_token_id": words - 1,
        },
    )
    whole = KINDS["clip"][1](config)
    put_weights(whole, _clip_weights(model), model.name)
    return whole


def _check_settings(model: Model, vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    if "patch_size" not in vision or isinstance(vision["layers"], (list, tuple)):
        raise InputError(
            f"{model.name} has a ResNet as its image tower, which transformers' CLIP does not; export it to open_clip"
        )
    unknown = sorted((set(vision) - _VISION_SETTINGS) | (set(text) - _TEXT_SETTINGS))
    if unknown:
        raise InputError(
            f"transformers' CLIP cannot say {', '.join(unknown)[:80]} of {model.name}; export it to open_clip"
        )


def _clip_weights(model: Model) -> dict[str, Tensor]:
    state = model.state_dict()
    found = {
        "logit_scale": state["logit_scale"],
        "visual_projection.weight": state["image_projection.weight"],
        "text_projection.weight": state["text.trunk.text_projection"].T.contiguous(),
    }
    for ours, theirs, names in (
        ("image.trunk.", "vision_model.", _VISION_NAMES),
        ("text.trunk.", "text_model.", _TEXT_NAMES),
    ):
        for key, value in state.items():
            if key.startswith(ours) and not key.endswith(("text_projection", "attn_mask")):
                found.update(_renamed(key.removeprefix(ours), value, theirs, names))
    return found


def _renamed(key: str, value: Tensor, tower: str, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return one of open_clip's weights under transformers' name, or the three that it is the stack of."""
    if not key.startswith("transformer.resblocks."):
        part = next(part for part in names if key == part or key.startswith(f"{part}."))
        return {f"{tower}{names[part]}{key.removeprefix(part)}": value}
    number, _, rest = key.removeprefix("transformer.resblocks.").partition(".")
    block = f"{tower}encoder.layers.{number}"
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        return {
            f"{block}.self_attn.{name}_proj.{kind}": part.contiguous()
            for name, part in zip("qkv", value.chunk(3), strict=True)
        }
    part = next(part for part in _BLOCK_NAMES if rest.startswith(f"{part}."))
    return {f"{block}.{_BLOCK_NAMES[part]}{rest.removeprefix(part)}": value}


def _preprocess(model: Model, kind: str) -> dict[str, Any]:
    """Return the image processor's settings; `crop_size` of the resized square or shorter side."""
    spec = model.spec
    before = round(spec.size / spec.crop_fraction)
    squash = spec.resize_mode == "squash"
    return {
        "image_processor_type": "EfficientNetImageProcessor" if kind == "align" else "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": before, "width": before} if squash else {"shortest_edge": before},
        "resample": _PIL_FILTERS[spec.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": spec.size, "width": spec.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
    }
