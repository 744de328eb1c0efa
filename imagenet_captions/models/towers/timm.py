"""Image towers from timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import timm
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from imagenet_captions.errors import unknown_name
from imagenet_captions.models import preprocess
from imagenet_captions.models.config import ModelConfig, TowerConfig


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
        options["architecture"], pretrained=False, num_classes=0, **with_tuples(options["arguments"])
    )
    tower = TimmImage(trunk, width_of(trunk))
    return tower, None if dim is None else nn.Linear(tower.width, dim, bias=False)


def with_tuples(arguments: Mapping[str, Any]) -> Any:
    """Return a model's arguments with tuples, as timm expects them, in place of JSON's lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}


def width_of(trunk: Any) -> int:
    """Return the number of features that a timm model gives to its classifier; some have a layer before it."""
    return int(getattr(trunk, "head_hidden_size", None) or trunk.num_features)


def known_name(name: str) -> None:
    """Refuse a name that timm does not have, with the closest known names."""
    if not timm.is_model(name):
        raise unknown_name("timm model", name, timm.list_models())


def named_config(name: str) -> ModelConfig:
    """Return the configuration of a timm model: images only, with the pixels that timm gives it."""
    known_name(name)
    pretrained: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    spec = preprocess.from_timm(resolve_data_config(pretrained_cfg=pretrained.to_dict()))  # type: ignore[no-untyped-call]
    return ModelConfig(f"timm:{name}", spec, TowerConfig("timm", {"architecture": name, "arguments": {}}))
