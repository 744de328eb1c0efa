"""Image towers from timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from imagenet_captions.errors import InputError, quoted, unknown_name
from imagenet_captions.models import preprocess
from imagenet_captions.models.config import ModelConfig, TowerConfig

# The arguments that say how a model is built. Others make timm read files and addresses, or wrap the model.
_ARCHITECTURE = frozenset(
    "act_layer attn_drop_rate class_token depth depths dims drop_path_rate drop_rate dynamic_img_pad dynamic_img_size "
    "embed_dim embed_dims fc_norm final_norm global_pool head_hidden_size head_init_scale img_size in_chans "
    "init_values kernel_sizes layers ls_init_value mlp_ratio mlp_ratios no_embed_class norm_eps norm_layer num_heads "
    "output_stride patch_drop_rate patch_size pos_drop_rate pos_embed pre_norm proj_drop_rate qk_norm qkv_bias "
    "reg_tokens stem_type stem_width strict_img_size window_size".split()
)


class TimmImage(nn.Module):
    """A timm model without its classifier."""

    def __init__(self, trunk: nn.Module, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features that timm's own classifier would see."""
        features: Tensor = self.trunk(pixels)
        return features


def build_image(options: Mapping[str, Any], dim: int | None) -> tuple[nn.Module, nn.Module | None]:
    """Build a timm model with random weights as an image tower, and a linear projection if a shared space is wanted."""
    known_name(options["architecture"])
    trunk: Any = timm.create_model(
        options["architecture"], pretrained=False, num_classes=0, **architecture_arguments(options["arguments"])
    )
    tower = TimmImage(trunk, width_of(trunk))
    return tower, None if dim is None else nn.Linear(tower.width, dim, bias=False)


def architecture_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a model's arguments with tuples, as timm expects them, in place of JSON's lists.

    Raises InputError for arguments that do not say how the model is built, such as `checkpoint_path`, and for rates
    that are not numbers.
    """
    others = sorted(set(arguments) - _ARCHITECTURE)
    if others:
        raise InputError(
            f"the model's description passes {quoted(others[0])} to timm, which is not known to be harmless; remove it "
            "from the description, or build the model with timm and give its weights as timm:NAME@FILE"
        )
    for name, value in arguments.items():
        if name.endswith("_rate") and not isinstance(value, (int, float)):  # timm would fail only when it computes
            raise InputError(f"the model's description says {name} {quoted(value)}, which is not a number; correct it")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}


def width_of(trunk: Any) -> int:
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
    spec = preprocess.from_timm(resolve_data_config(pretrained_cfg=pretrained.to_dict()))  # type: ignore[no-untyped-call]
    return ModelConfig(f"timm:{name}", spec, TowerConfig("timm", {"architecture": name, "arguments": {}}))
