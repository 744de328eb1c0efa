"""A small convolutional network for 32 x 32 pixels, made for two CPU cores and a few minutes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


class Convolution(nn.Sequential):
    """A 3 x 3 convolution and normalization, with the size halved if wanted.

    The pool stands before the norm, which then has a quarter of the work.
    """

    def __init__(self, wide_in: int, wide_out: int, halve: bool = False) -> None:
        super().__init__(
            nn.Conv2d(wide_in, wide_out, 3, padding=1, bias=False),
            nn.MaxPool2d(2) if halve else nn.Identity(),
            nn.BatchNorm2d(wide_out),
            nn.ReLU(inplace=True),
        )


class MicroNet(nn.Module):
    """A convolution for each width, a residual block after the last, and the mean over positions: a short "ResNet-9".

    The sizes are 32 to 16, 16, 16 to 8, 8 to 4. Such nets learn CIFAR's classes in a fifth of the work of a ResNet that
    keeps 32 x 32 for a stage.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.stem = Convolution(3, widths[0], halve=True)
        steps = [Convolution(before, wide, halve=number > 0) for number, (before, wide) in enumerate(pairwise(widths))]
        self.steps = nn.Sequential(*steps)
        self.width = widths[-1]
        self.block = nn.Sequential(Convolution(self.width, self.width), Convolution(self.width, self.width))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return features [n, last width] of images [n, 3, 32, 32]."""
        # Channels last: convolutions on a CPU take two thirds of the time so.
        before = self.steps(self.stem(pixels.contiguous(memory_format=torch.channels_last)))
        features: Tensor = (before + self.block(before)).mean(dim=(2, 3))
        return features


def build_image(options: Mapping[str, Any], dim: int | None) -> tuple[nn.Module, nn.Module | None]:
    """Build the network with random weights, and a linear projection if a shared space is wanted."""
    tower = MicroNet(tuple(options["widths"]))
    return tower, None if dim is None else nn.Linear(tower.width, dim, bias=False)
