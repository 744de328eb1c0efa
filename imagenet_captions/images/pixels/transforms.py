"""Transforms from an encoded image to a square of pixels: cropped at random for training, at the center for tests.

SimCLR trains on two views of an image (Chen et al. 2020, arXiv 2002.05709, appendix A). Images stay bytes (uint8) with
the channels last in memory: for these torch resizes in a fifth of Pillow's time, with the same antialiasing and at most
a few steps of 255 of difference.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass

import numpy as np
import torch
import torchvision.transforms.functional as F  # noqa: N812
from PIL import Image
from torch.nn.functional import interpolate

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.images.headers import MOST_PIXELS
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.images.pixels.augment import RandAugment
from imagenet_captions.images.pixels.decoding import BrokenImage, decode

CROPS = ("resized", "placed")
_RATIO = (3 / 4, 4 / 3)
_LOG_RATIO = (-0.28768205642700195, 0.28768211603164673)  # in single precision, as torchvision has them
_TRIES = 10

# SimCLR's views.
_JITTER = (0.8, 0.8, 0.8, 0.2)  # brightness, contrast, saturation, hue, times the strength
_JITTERED, _GREY, _BLURRED = 0.8, 0.2, 0.5  # how often
_SIGMA = (0.1, 2.0)

Box = tuple[int, int, int, int]


class _Numbers(threading.local):
    """The tensors into which a thread draws numbers; new ones would take a fifth of the time of drawing a box."""

    def __init__(self) -> None:
        self.real = torch.empty(1)
        self.whole = torch.empty(1, dtype=torch.int64)


_NUMBERS = _Numbers()


@dataclass(frozen=True)
class TrainTransform:
    """Cut a random part of the image, at the size that the model expects.

    The crop "resized" takes a part of any size between the shares of the area in `scale` and resizes it, as
    torchvision's RandomResizedCrop does. The crop "placed" resizes the image as for testing and takes a square of the
    model's size at a random place.
    """

    spec: ImageSpec
    scale: tuple[float, float] = (0.9, 1.0)
    flip: bool = False
    crop: str = "resized"
    augment: RandAugment | None = None

    def __post_init__(self) -> None:
        check_scale(self.scale)
        if self.crop not in CROPS:
            raise InputError(f"the crop must be {' or '.join(CROPS)}, not {quoted(self.crop)}")

    def __call__(self, data: bytes, generator: torch.Generator) -> torch.Tensor:
        """uint8 [3, size, size]; the generator alone decides, and two in the same state give the same."""
        image = decode(data)
        if self.crop == "placed":
            image = _placed_crop(resize_for(self.spec, image), self.spec.size, generator)
        else:
            image = resized_crop(image, crop_box(image, self.scale, generator), self.spec)
        image = image.flip(-1) if self.flip and chance(generator) < 0.5 else image
        return image if self.augment is None else self.augment(image, generator)


@dataclass(frozen=True)
class EvalTransform:
    """Resize the shorter side and crop the center, as torchvision does.

    `border` is cut off each side first: ObjectNet's images have a red line of two pixels around them.
    """

    spec: ImageSpec
    border: int = 0

    def __call__(self, data: bytes) -> torch.Tensor:
        """uint8 [3, size, size]."""
        image = decode(data)
        if self.border and min(image.shape[1:]) > 2 * self.border:
            image = image[:, self.border : -self.border, self.border : -self.border]
        resized, size = resize_for(self.spec, image), self.spec.size
        top, left = round((resized.shape[1] - size) / 2.0), round((resized.shape[2] - size) / 2.0)
        return resized[:, top : top + size, left : left + size]


def resize_for(spec: ImageSpec, image: torch.Tensor) -> torch.Tensor:
    """Return the whole image at the size from which crops are cut."""
    height, width = image.shape[1:]
    shorter = math.floor(spec.size / spec.crop_fraction)
    if spec.resize_mode == "squash":
        return resize(image, shorter, shorter, spec.interpolation)
    if width <= height:
        return resize(image, int(shorter * height / width), shorter, spec.interpolation)
    return resize(image, shorter, int(shorter * width / height), spec.interpolation)


def _placed_crop(image: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Return a square at a random place."""
    top, left = (int(torch.randint(0, side - size + 1, (1,), generator=generator).item()) for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]


def check_scale(scale: tuple[float, float]) -> None:
    """Raise InputError for a crop that is not a part of an image."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise InputError(f"a crop must be a part of the image, above 0 and up to 1, not {scale[0]} to {scale[1]}")


def chance(generator: torch.Generator) -> float:
    """Draw a number from 0 to 1 as torch.rand(1) does."""
    return _NUMBERS.real.uniform_(generator=generator).item()


def crop_box(image: torch.Tensor, scale: tuple[float, float], generator: torch.Generator) -> Box:
    """Return top, left, height and width of a random crop.

    The numbers are drawn as RandomResizedCrop.get_params draws them (torchvision 0.13 to 0.28), so that the same state
    of the generator gives the same box.
    """
    height, width = image.shape[1:]
    drawn, whole = _NUMBERS.real, _NUMBERS.whole
    for _ in range(_TRIES):
        area = height * width * drawn.uniform_(*scale, generator=generator).item()
        ratio = drawn.uniform_(*_LOG_RATIO, generator=generator).exp_().item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(whole.random_(0, height - h + 1, generator=generator).item())
            left = int(whole.random_(0, width - w + 1, generator=generator).item())
            return top, left, h, w
    w, h = width, height
    if width / height < _RATIO[0]:
        h = round(width / _RATIO[0])
    elif width / height > _RATIO[1]:
        w = round(height * _RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w


def resized_crop(image: torch.Tensor, box: Box, spec: ImageSpec) -> torch.Tensor:
    """Return a part of an image at the size that a model expects."""
    top, left, height, width = box
    # numpy copies the part in half of the time that torch would take for it, to the same memory order.
    part = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[top : top + height, left : left + width])
    return resize(torch.from_numpy(part).permute(2, 0, 1), spec.size, spec.size, spec.interpolation)


def resize(image: torch.Tensor, height: int, width: int, interpolation: str) -> torch.Tensor:
    """Return an image at another size, antialiased; one of that size is returned unchanged."""
    if image.shape[1:] == (height, width):
        return image
    if height * width > MOST_PIXELS:
        raise BrokenImage(f"{image.shape[2]} x {image.shape[1]} pixels, which is too long and thin to resize")
    # A batch of one made in this order counts as one with the channels last; `image[None]` does not, and takes longer.
    batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return interpolate(batch, (height, width), mode=interpolation, antialias=True)[0]


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
            raise InputError(f"the strength of color jitter must be 0 to 1, not {self.strength}")

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
