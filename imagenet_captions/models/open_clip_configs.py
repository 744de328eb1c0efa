"""Turn open_clip's configurations into this package's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg

from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models import preprocess
from imagenet_captions.models.config import ModelConfig, TokenizerConfig, TowerConfig
from imagenet_captions.models.tokenizing import tokenizer_of


def config_named(name: str) -> dict[str, Any]:
    """Return one of open_clip's configurations by name."""
    config: dict[str, Any] | None = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise unknown_name("open_clip model", name, open_clip.list_models())
    return config


def named_config(name: str, shown: str) -> ModelConfig:
    """Return our configuration for one of open_clip's, with the pixels of OpenAI's models."""
    config = config_named(name)
    size = config["vision_cfg"].get("image_size", 224)
    return describe(config, preprocess.from_open_clip({**asdict(PreprocessCfg()), "size": size}), shown)


def describe(config: Mapping[str, Any], spec: ImageSpec, shown: str, tokenizer: str | None = None) -> ModelConfig:
    """Turn a configuration of open_clip into ours; `tokenizer` is the folder that holds one, if there is one."""
    quick = bool(config.get("quick_gelu", False))
    dim = int(config["embed_dim"])
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    text = {**config["text_cfg"], "hf_model_pretrained": False}
    return ModelConfig(
        name=shown,
        spec=spec,
        image=TowerConfig("open_clip", {"embed_dim": dim, "vision_cfg": vision, "quick_gelu": quick}),
        text=TowerConfig("open_clip", {"text_cfg": text, "quick_gelu": quick}),
        tokenizer=_tokenizer(config["text_cfg"], tokenizer),
        dim=dim,
    )


def _tokenizer(text: Mapping[str, Any], folder: str | None) -> TokenizerConfig:
    """Return CLIP's byte pairs if the configuration names no other tokenizer."""
    context = int(text.get("context_length", 77))
    options = dict(text.get("tokenizer_kwargs") or {})
    if not text.get("hf_tokenizer_name"):
        return TokenizerConfig("clip", context, options=options)
    if text.get("tokenizer_mode"):
        raise InputError(
            f"the tokenizer's mode {quoted(text['tokenizer_mode'])} is not read here; use open_clip itself"
        )
    options = {"clean": options.get("clean", "whitespace"), "strip_end": bool(options.get("strip_sep_token"))}
    return tokenizer_of(folder or text["hf_tokenizer_name"], context, options)
