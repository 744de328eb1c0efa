"""open_clip's configurations as descriptions of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg

from imagenet_captions.models import preprocess
from imagenet_captions.models.config import ModelConfig, TokenizerConfig, TowerConfig
from imagenet_captions.models.hub import reaching
from imagenet_captions.models.names import unknown_name
from imagenet_captions.models.tokenizing import config_of_tokenizer
from imagenet_captions.pixels.spec import ImageSpec


def named_config(name: str, shown: str) -> ModelConfig:
    """The description of one of open_clip's own configurations, its pixels those of OpenAI's models."""
    config = open_clip.get_model_config(name) if name in open_clip.list_models() else None
    if config is None:
        raise unknown_name("open_clip model", name, open_clip.list_models())
    size = config["vision_cfg"].get("image_size", 224)
    spec = preprocess.from_open_clip({**asdict(PreprocessCfg()), "size": size})
    return describe(config, spec, shown, name)


def describe(config: Mapping[str, Any], spec: ImageSpec, shown: str, tokenizer_from: str) -> ModelConfig:
    """A configuration of open_clip as a description; `tokenizer_from` is what `open_clip.get_tokenizer` takes."""
    quick = bool(config.get("quick_gelu", False))
    dim = int(config["embed_dim"])
    vision = {**config["vision_cfg"], "timm_model_pretrained": False}
    text = {**config["text_cfg"], "hf_model_pretrained": False}
    return ModelConfig(
        name=shown,
        spec=spec,
        image=TowerConfig("open_clip", {"embed_dim": dim, "vision_cfg": vision, "quick_gelu": quick}),
        text=TowerConfig("open_clip", {"text_cfg": text, "quick_gelu": quick}),
        tokenizer=_tokenizer(config["text_cfg"], tokenizer_from),
        dim=dim,
    )


def _tokenizer(text: Mapping[str, Any], source: str) -> TokenizerConfig:
    """CLIP's byte pairs where the configuration names no other tokenizer."""
    context = int(text.get("context_length", 77))
    options = dict(text.get("tokenizer_kwargs") or {})
    if not text.get("hf_tokenizer_name"):
        return TokenizerConfig("clip", context, options=options)
    with reaching(f"the tokenizer of open_clip model {source}"):
        tokenizer = open_clip.get_tokenizer(source)
    return config_of_tokenizer(tokenizer.tokenizer, context, {"clean": options.get("clean", "whitespace")})
