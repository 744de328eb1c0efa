"""The presets as a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from imagenet_captions.models.build import build, config_of
from imagenet_captions.models.presets import PRESETS

_HEADER = ("preset", "what it is", "pixels", "features", "shared space", "tokens", "image tower", "text tower")


def preset_table() -> str:
    """One row a preset: its sizes, and the millions of weights of its towers, counted without making any."""
    rows = [_HEADER, tuple("---" for _ in _HEADER), *_rows()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _rows() -> Iterator[tuple[str, ...]]:
    for name, preset in PRESETS.items():
        with torch.device("meta"):
            model = build(config_of(name))
        tokenizer = model.config.tokenizer
        yield (
            f"`{name}`",
            preset.about,
            str(model.spec.size),
            f"{model.width:,}",
            "" if model.config.dim is None else f"{model.config.dim:,}",
            "" if tokenizer is None else str(tokenizer.context_length),
            _millions(model.image),
            "" if model.text is None else _millions(model.text),
        )


def _millions(tower: nn.Module) -> str:
    return f"{sum(parameter.numel() for parameter in tower.parameters()) / 1e6:.1f} M"
