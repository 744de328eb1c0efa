"""Load open_clip's models with weights: by tag, from a file or folder, or from the hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
from huggingface_hub import hf_hub_download
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn

from imagenet_captions.errors import InputError, unknown_name
from imagenet_captions.models import preprocess
from imagenet_captions.models.model import Model
from imagenet_captions.models.tokenizing import build_tokenizer
from imagenet_captions.models.towers.open_clip import (
    FirstOutput,
    config_named,
    describe,
    only_architecture,
    split_visual,
)
from imagenet_captions.models.weights import DESCRIPTION, find_weights, put_weights, read_weights, state_of
from imagenet_captions.storage.faults import reaching
from imagenet_captions.storage.files import read_json

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
# What OpenAI's weights and older versions of transformers keep among the weights, and the model makes itself.
_NO_WEIGHTS = {
    "attn_mask",
    "input_resolution",
    "context_length",
    "vocab_size",
    "text.transformer.embeddings.position_ids",
}


@dataclass(frozen=True)
class _Found:
    """The parts of a model that was found: open_clip's configuration, its pixels, its weights, its tokenizer."""

    shown: str
    config: dict[str, Any]
    pixels: Mapping[str, Any]
    weights: Path
    tokenizer: str | None = None


def load(name: str, weights: str) -> Model:
    """Load one of open_clip's models by name with the weights of a tag or a file, or `org/repository` from the hub.

    Raises InputError for a name, a tag or a file that is not there, or a hub that is not reached.
    """
    shown = f"open_clip:{name}" + (f"@{weights}" if weights else "")
    if "/" in name and not weights:
        return _load(_on_hub(name, shown))
    config = config_named(name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if Path(weights).is_file():
        return _load(_Found(shown, config, {}, Path(weights)))
    if weights in tags:
        tag: dict[str, Any] = open_clip.get_pretrained_cfg(name, weights)
        with reaching(shown):
            path = Path(open_clip.download_pretrained(tag))
        return _load(_Found(shown, {**config, "quick_gelu": bool(tag.get("quick_gelu"))}, tag, path))
    if not weights:
        some = ", ".join(f"open_clip:{name}@{tag}" for tag in tags[:3])
        raise InputError(f"{shown} names no weights; name some, as in {some or f'open_clip:{name}@FILE'}")
    if "/" in weights or Path(weights).suffix:
        raise InputError(f"the weights {weights} of {shown.split('@', 1)[0]} do not exist; check the path")
    raise unknown_name(f"weights of open_clip:{name}, and no file,", weights, tags)


def load_folder(folder: Path, shown: str) -> Model:
    """Load a folder in open_clip's format for the hub: open_clip_config.json, weights, and a tokenizer if needed."""
    whole = read_json(folder / CONFIG_FILE, dict[str, Any], DESCRIPTION)
    weights = find_weights(folder, WEIGHTS_FILES)
    return _load(_found(whole, shown, weights, folder / CONFIG_FILE, str(folder)))


def _on_hub(name: str, shown: str) -> _Found:
    with reaching(shown):
        config = Path(hf_hub_download(name, CONFIG_FILE))
        weights = Path(open_clip.pretrained.download_pretrained_from_hf(name))
    return _found(read_json(config, dict[str, Any], DESCRIPTION), shown, weights, config, None)


def _found(whole: Mapping[str, Any], shown: str, weights: Path, file: Path, tokenizer: str | None) -> _Found:
    config = whole.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise InputError(
            f"{file} describes no model of open_clip (no model_cfg with embed_dim, vision_cfg and text_cfg)"
        )
    return _Found(shown, config, whole.get("preprocess_cfg") or {}, weights, tokenizer)


def _load(found: _Found) -> Model:
    dim = int(found.config["embed_dim"])
    defaults = {key: value for key, value in asdict(PreprocessCfg()).items() if key != "size"}
    pixels = {key: found.pixels[key] for key in defaults if found.pixels.get(key) is not None}
    spec = preprocess.from_open_clip(
        {**defaults, **pixels, "size": found.config["vision_cfg"].get("image_size", found.pixels.get("size", 224))}
    )
    loaded = read_weights(found.weights)
    with reaching(found.shown, not found.config["text_cfg"].get("hf_model_name")):
        whole = _whole(found.config)
    put_weights(whole, _fitting(whole, loaded, found.weights), found.weights)
    config = describe(found.config, spec, found.shown, found.tokenizer)
    assert config.tokenizer is not None
    image, projection = split_visual(whole.visual, dim)
    model = Model(config, image, projection, FirstOutput(whole.text, dim), build_tokenizer(config.tokenizer))
    assert model.logit_scale is not None
    model.logit_scale.data.fill_(whole.logit_scale.item())
    return model


def _whole(config: Mapping[str, Any]) -> Any:
    """Build open_clip's model with random weights; its text tower is always a separate part."""
    kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    options = {key: value for key, value in config.items() if key not in ("custom_text", "vision_cfg", "text_cfg")}
    vision, text = only_architecture(config["vision_cfg"], config["text_cfg"])
    return kind(vision_cfg=vision, text_cfg=text, **options)


def _fitting(whole: nn.Module, loaded: Any, path: Path) -> dict[str, Tensor]:
    """Rename and reshape weights for the model, as open_clip's own loader does."""
    state: dict[str, Tensor] = convert_state_dict(whole, state_of(loaded, path))
    if "positional_embedding" in state:
        state = convert_to_custom_text_state_dict(state)
    state = {key: value for key, value in state.items() if key not in _NO_WEIGHTS}
    for key in ("logit_scale", "logit_bias"):
        if key in state and getattr(whole, key, None) is not None:
            state[key] = state[key].reshape(getattr(whole, key).shape)
    if "visual.positional_embedding" in state:
        resize_pos_embed(state, whole)
    if "text.positional_embedding" in state:
        resize_text_pos_embed(state, whole)
    return state
