"""Random changes of training images: RandAugment, and SimCLR's two views.

RandAugment (Cubuk et al. 2019, arXiv 1909.13719) applies a few random operations, all of one strength; SimCLR's views
are those of Chen et al. 2020, arXiv 2002.05709, appendix A.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torchvision.transforms.functional as F  # noqa: N812
from PIL import Image

from imagenet_captions.errors import InputError
from imagenet_captions.images.pixels.decoding import decode
from imagenet_captions.images.pixels.spec import ImageSpec
from imagenet_captions.images.pixels.transforms import chance, check_scale, crop_box, resized_crop

_USUAL_STRONGEST = 10


_JITTER = (0.8, 0.8, 0.8, 0.2)  # brightness, contrast, saturation, hue, times the strength
_JITTERED, _GREY, _BLURRED = 0.8, 0.2, 0.5  # how often
_SIGMA = (0.1, 2.0)


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
                f"RandAugment with {self.operations} operations of strength {self.strength} is not possible; "
                f"give 1 operation or more, and a strength of 3 to 30"
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


@dataclass(frozen=True)
class TwoViews:
    """Draw two random views of one image: crop, flip, colors, gray, blur.

    `strength` scales how far colors move, 0 leaves them; the paper takes 1, and 0.5 without blur for CIFAR's 32
    pixels.
    """

    spec: ImageSpec
    scale: tuple[float, float] = (0.08, 1.0)
    strength: float = 1.0
    blur: bool = True

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if not 0 <= self.strength <= 1:
            raise InputError(f"color jitter of strength {self.strength} is not possible; give 0 to 1")

    def __call__(self, data: bytes, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Two tensors, uint8 [3, size, size]; the generator alone decides."""
        image = decode(data)
        return self._view(image, generator), self._view(image, generator)

    def _view(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        view = resized_crop(image, crop_box(image, self.scale, generator), self.spec)
        if chance(generator) < 0.5:
            view = view.flip(-1)
        if self.strength and chance(generator) < _JITTERED:
            view = _jittered(view, self.strength, generator)
        if self.strength and chance(generator) < _GREY:
            view = F.rgb_to_grayscale(view, 3)
        if self.blur and chance(generator) < _BLURRED:
            width = max(3, self.spec.size // 10 // 2 * 2 + 1)
            view = F.gaussian_blur(view, [width, width], [_between(*_SIGMA, generator)])
        return view


def _jittered(view: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Move the colors in a random order, as torchvision's ColorJitter does.

    Pillow takes a fifth of torch's time for it: 2.7 against 14.9 ms at 224 pixels.
    """
    brightness, contrast, saturation, hue = (strength * most for most in _JITTER)
    picture = Image.fromarray(view.permute(1, 2, 0).numpy())
    for step in torch.randperm(4, generator=generator).tolist():
        if step == 0:
            picture = F.adjust_brightness(picture, _between(max(0.0, 1 - brightness), 1 + brightness, generator))
        elif step == 1:
            picture = F.adjust_contrast(picture, _between(max(0.0, 1 - contrast), 1 + contrast, generator))
        elif step == 2:
            picture = F.adjust_saturation(picture, _between(max(0.0, 1 - saturation), 1 + saturation, generator))
        else:
            picture = F.adjust_hue(picture, _between(-hue, hue, generator))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * chance(generator)
