"""Towers from open_clip's configurations, and those configurations as this package's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import open_clip

# open_clip builds whole models in public and single towers in these two alone; CLIP and CoCa are made of them.
from open_clip.model import CLIPTextCfg, CLIPVisionCfg, _build_text_tower, _build_vision_tower
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from transformers import AutoConfig

from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.models import preprocess
from imagenet_captions.models.config import ModelConfig, TokenizerConfig, TowerConfig
from imagenet_captions.models.tokenizing import tokenizer_of
from imagenet_captions.models.towers.timm import known_name
from imagenet_captions.storage.faults import reaching


class FirstOutput(nn.Module):
    """A tower of open_clip of which only the first output is used; some, such as CoCa's, have several."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the pooled features, or the embedded texts."""
        out = self.trunk(inputs)
        first: Tensor = out[0] if isinstance(out, tuple) else out
        return first


def split_visual(visual: nn.Module, dim: int) -> tuple[nn.Module, nn.Module]:
    """Split open_clip's image tower into the part that gives features and the projection to the shared space.

    A ResNet's attention pool ends with its projection, so its features are the shared space's points, as in what
    open_clip gives out; a Vision Transformer and a timm model are cut before the last layer.
    """
    if isinstance(visual, VisionTransformer) and isinstance(visual.proj, nn.Parameter):
        weight = visual.proj.detach().T.contiguous()
        # On no device at first: random weights for it would shift those that come after from open_clip's own.
        projection = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        projection.weight = nn.Parameter(weight)
        visual.proj = None
        return FirstOutput(visual, weight.shape[1]), projection
    if isinstance(visual, TimmModel) and len(visual.head) and "pool" not in visual.head._modules:
        last = visual.head._modules.get("proj") or visual.head._modules["mlp"].fc1
        return FirstOutput(visual.trunk, last.in_features), visual.head
    return FirstOutput(visual, dim), nn.Identity()


def only_architecture(vision: Mapping[str, Any], text: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of two towers so that building them loads no weights and runs no code.

    Raises InputError for an image tower that is not timm's own, or a text tower whose code is not in transformers.
    """
    if vision.get("timm_model_name"):
        known_name(vision["timm_model_name"])
    if text.get("hf_model_name"):
        # Without this, open_clip lets transformers ask on the terminal whether to run the code of the repository.
        about = AutoConfig.from_pretrained(text["hf_model_name"], trust_remote_code=False)
        # An implementation may be named as a kernel of the hub, which is code too.
        kernels = {value for key, value in vars(about).items() if "_implementation" in key} - {None, "eager", "sdpa"}
        if getattr(about, "auto_map", None) or kernels:
            raise InputError(f"the text tower {quoted(text['hf_model_name'])} has code of its own, which is never run")
    return {**vision, "timm_model_pretrained": False}, {**text, "hf_model_pretrained": False}


def build_image(options: Mapping[str, Any]) -> tuple[nn.Module, nn.Module]:
    """Build an image tower of open_clip with random weights, and its projection."""
    vision, _ = only_architecture(options["vision_cfg"], {})
    dim = options["embed_dim"]
    return split_visual(_build_vision_tower(dim, CLIPVisionCfg(**vision), options["quick_gelu"]), dim)


def build_text(options: Mapping[str, Any], dim: int) -> nn.Module:
    """Build a text tower of open_clip with random weights, its projection included."""
    name = options["text_cfg"].get("hf_model_name")
    with reaching(f"the text tower {name}", not name):
        _, text = only_architecture({}, options["text_cfg"])
        return FirstOutput(_build_text_tower(dim, CLIPTextCfg(**text), options["quick_gelu"]), dim)


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
