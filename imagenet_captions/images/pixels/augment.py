"""RandAugment (Cubuk et al. 2019, arXiv 1909.13719): a few random operations on an image, all of one strength."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image

from imagenet_captions.errors import InputError

_USUAL_STRONGEST = 10


@dataclass(frozen=True)
class RandAugment:
    """timm's RandAugment: `operations` of its list, each applied to half of the images, at `strength`.

    Strengths count to 10 and may go on, as in Google's own code; what an operation moves is filled with `fill`.
    """

    operations: int
    strength: int
    size: int
    fill: tuple[int, int, int]

    def __post_init__(self) -> None:
        if self.operations < 1 or not 3 <= self.strength <= 30:  # Pillow refuses to posterize at less than 3
            raise InputError(
                "RandAugment needs 1 operation or more and a strength of 3 to 30, "
                f"not {self.operations} operations of strength {self.strength}"
            )

    def __call__(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """uint8 [3, size, size] of the same; the generator alone decides."""
        seed = int(torch.randint(2**31, (1,), generator=generator).item())
        picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        with _seeded(seed):
            changed = self._timms(picture)
        return torch.from_numpy(np.array(changed)).permute(2, 0, 1)

    @cached_property
    def _timms(self) -> Any:
        from timm.data.auto_augment import rand_augment_transform

        strongest = max(self.strength, _USUAL_STRONGEST)  # timm would cut a strength above 10 down to it
        return rand_augment_transform(
            f"rand-m{self.strength}-mmax{strongest}-n{self.operations}",
            {"translate_const": int(self.size * 0.45), "img_mean": self.fill},
        )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators that timm draws from, and restore their states at the end."""
    pythons, numpys = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(pythons)
        np.random.set_state(numpys)
