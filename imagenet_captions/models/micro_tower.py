"""A small residual network for 32 x 32 pixels, made for two CPU cores and a few minutes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a short cut."""

    def __init__(self, wide_in: int, wide_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide_out)
        self.conv2 = nn.Conv2d(wide_out, wide_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or wide_in != wide_out:
            self.shortcut = nn.Sequential(nn.Conv2d(wide_in, wide_out, 1, stride, bias=False), nn.BatchNorm2d(wide_out))

    def forward(self, x: Tensor) -> Tensor:
        """Half the size where the stride is two."""
        inner = self.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.relu(self.norm2(self.conv2(inner)) + self.shortcut(x))
        return out


class MicroResNet(nn.Module):
    """A stem, one stage a width, the mean over places; each stage after the first halves the size."""

    def __init__(self, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        stages: list[nn.Module] = []
        before = widths[0]
        for number, wide in enumerate(widths):
            for block in range(blocks):
                stages.append(Block(before, wide, 2 if number and not block else 1))
                before = wide
        self.stages = nn.Sequential(*stages)
        self.width = before

    def forward(self, pixels: Tensor) -> Tensor:
        """[n, 3, 32, 32] to [n, the last width]."""
        features: Tensor = self.stages(self.stem(pixels)).mean(dim=(2, 3))
        return features


def build_image(options: Mapping[str, Any], dim: int | None) -> tuple[nn.Module, nn.Module | None]:
    """The network with random weights, and a linear projection where a shared space is wanted."""
    tower = MicroResNet(tuple(options["widths"]), options["blocks"])
    return tower, None if dim is None else nn.Linear(tower.width, dim, bias=False)
