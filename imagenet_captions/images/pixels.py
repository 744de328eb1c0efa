"""Encoded images as tensors: decoding, crops, augmentation, the input that a model expects, and batches of it.

Images stay bytes (uint8) with the channels last in memory: for these torch resizes in a fifth of Pillow's time, with
the same antialiasing and at most a few steps of 255 of difference.
"""

from __future__ import annotations

import io
import math
import multiprocessing
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import simplejpeg
import torch
import torchvision.transforms.functional as F  # noqa: N812
from PIL import Image, UnidentifiedImageError
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from imagenet_captions.errors import InputError, StoppedEarly, quoted
from imagenet_captions.images.image_spec import ImageSpec
from imagenet_captions.images.reading import MOST_PIXELS, read_header

CROPS = ("resized", "placed")
_RATIO = (3 / 4, 4 / 3)
_LOG_RATIO = (-0.28768205642700195, 0.28768211603164673)  # in single precision, as torchvision has them
_TRIES = 10

# SimCLR's views.
_JITTER = (0.8, 0.8, 0.8, 0.2)  # brightness, contrast, saturation, hue, times the strength
_JITTERED, _GREY, _BLURRED = 0.8, 0.2, 0.5  # how often
_SIGMA = (0.1, 2.0)

_STRENGTHS = (3, 30)  # of RandAugment; Pillow refuses to posterize at less than 3
_USUAL_STRONGEST = 10

Box = tuple[int, int, int, int]  # top, left, height and width


class BrokenImage(Exception):
    """The error for bytes that are not an image, not a whole one, or one too large to open; the message says which."""


def decode(data: bytes) -> torch.Tensor:
    """Return the pixels of an image, uint8 [3, height, width]; its memory has the channels last.

    JPEG in one or three colors is decoded by simplejpeg, everything else (CMYK, PNG, WebP, GIF) by Pillow, which shows
    what is transparent on black. Raises BrokenImage, for a decompression bomb before anything is decoded.
    """
    header = read_header(memoryview(data))
    if header.fault is not None:
        raise BrokenImage(header.fault)
    if header.colors in (1, 3):
        try:
            return torch.from_numpy(simplejpeg.decode_jpeg(data, strict=False)).permute(2, 0, 1)
        except ValueError:
            pass  # Pillow reads some files that libjpeg's defaults do not, and says more about the others
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken EXIF, and of palettes
            with Image.open(io.BytesIO(data)) as image:
                return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise BrokenImage(str(error)[:200]) from None


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
        _check_scale(self.scale)
        if self.crop not in CROPS:
            raise InputError(f"the crop must be {' or '.join(CROPS)}, not {quoted(self.crop)}")

    def __call__(self, data: bytes, generator: torch.Generator) -> torch.Tensor:
        """uint8 [3, size, size]; the generator alone decides, and two in the same state give the same."""
        image, size = decode(data), self.spec.size
        if self.crop == "placed":
            image = resize_for(self.spec, image)
            top, left = (int(torch.randint(0, side - size + 1, (1,), generator=generator)) for side in image.shape[1:])
            image = image[:, top : top + size, left : left + size]
        else:
            image = _resized_crop(image, crop_box(image, self.scale, generator), self.spec)
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


@dataclass(frozen=True)
class TwoViews:
    """Draw two random views of one image: crop, flip, colors, gray, blur; SimCLR trains on them.

    `strength` scales how far colors move, 0 leaves them; the paper takes 1, and 0.5 without blur for CIFAR's 32
    pixels (Chen et al. 2020, arXiv 2002.05709, appendix A).
    """

    spec: ImageSpec
    scale: tuple[float, float] = (0.08, 1.0)
    strength: float = 1.0
    blur: bool = True

    def __post_init__(self) -> None:
        _check_scale(self.scale)
        if not 0 <= self.strength <= 1:
            raise InputError(f"the strength of color jitter must be 0 to 1, not {self.strength}")

    def __call__(self, data: bytes, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Two tensors, uint8 [3, size, size]; the generator alone decides."""
        image = decode(data)
        return self._view(image, generator), self._view(image, generator)

    def _view(self, image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        view = _resized_crop(image, crop_box(image, self.scale, generator), self.spec)
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


@dataclass(frozen=True)
class RandAugment:
    """timm's RandAugment: `operations` of its list, each applied to half of the images, at `strength`.

    Strengths count to 10 and may go on, as in Google's own code; what an operation moves is filled with `fill`
    (Cubuk et al. 2019, arXiv 1909.13719).
    """

    operations: int
    strength: int
    size: int
    fill: tuple[int, int, int]

    def __post_init__(self) -> None:
        least, most = _STRENGTHS
        if self.operations < 1 or not least <= self.strength <= most:
            raise InputError(
                f"RandAugment needs 1 operation or more and a strength of {least} to {most}, "
                f"not {self.operations} operations of strength {self.strength}"
            )

    def __call__(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """uint8 [3, size, size] of the same; the generator alone decides."""
        seed = int(torch.randint(2**31, (1,), generator=generator))
        picture = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
        states = random.getstate(), np.random.get_state()
        random.seed(seed)  # timm draws from these two
        np.random.seed(seed)
        try:
            changed = self._timms(picture)
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
        return torch.from_numpy(np.array(changed)).permute(2, 0, 1)

    @cached_property
    def _timms(self) -> Any:
        from timm.data.auto_augment import rand_augment_transform

        strongest = max(self.strength, _USUAL_STRONGEST)  # timm would cut a strength above 10 down to it
        return rand_augment_transform(
            f"rand-m{self.strength}-mmax{strongest}-n{self.operations}",
            {"translate_const": int(self.size * 0.45), "img_mean": self.fill},
        )


def _check_scale(scale: tuple[float, float]) -> None:
    if not 0 < scale[0] <= scale[1] <= 1:
        raise InputError(f"a crop must be a part of the image, above 0 and up to 1, not {scale[0]} to {scale[1]}")


def chance(generator: torch.Generator) -> float:
    """Draw a number from 0 to 1 as torch.rand(1) does."""
    return torch.rand(1, generator=generator).item()


def crop_box(image: torch.Tensor, scale: tuple[float, float], generator: torch.Generator) -> Box:
    """Return top, left, height and width of a random crop.

    The numbers are drawn as RandomResizedCrop.get_params draws them (torchvision 0.13 to 0.28), so that the same state
    of the generator gives the same box.
    """
    height, width = image.shape[1:]
    drawn = torch.empty(1)
    for _ in range(_TRIES):
        area = height * width * drawn.uniform_(*scale, generator=generator).item()
        ratio = drawn.uniform_(*_LOG_RATIO, generator=generator).exp_().item()
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = (int(torch.randint(0, room + 1, (1,), generator=generator)) for room in (height - h, width - w))
            return top, left, h, w
    h = min(height, round(width / _RATIO[0]))
    w = min(width, round(height * _RATIO[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def _resized_crop(image: torch.Tensor, box: Box, spec: ImageSpec) -> torch.Tensor:
    top, left, height, width = box
    # numpy copies the part in half of the time that torch would take for it, to the same memory order.
    part = np.ascontiguousarray(image.permute(1, 2, 0).numpy()[top : top + height, left : left + width])
    return _resize(torch.from_numpy(part).permute(2, 0, 1), spec.size, spec.size, spec.interpolation)


def resize_for(spec: ImageSpec, image: torch.Tensor) -> torch.Tensor:
    """Return the whole image at the size from which crops are cut."""
    height, width = image.shape[1:]
    shorter = math.floor(spec.size / spec.crop_fraction)
    if spec.resize_mode == "squash":
        return _resize(image, shorter, shorter, spec.interpolation)
    if width <= height:
        return _resize(image, int(shorter * height / width), shorter, spec.interpolation)
    return _resize(image, shorter, int(shorter * width / height), spec.interpolation)


def _resize(image: torch.Tensor, height: int, width: int, interpolation: str) -> torch.Tensor:
    """Return an image at another size, antialiased; one of that size is returned unchanged."""
    if image.shape[1:] == (height, width):
        return image
    if height * width > MOST_PIXELS:
        raise BrokenImage(f"{image.shape[2]} x {image.shape[1]} pixels, which is too long and thin to resize")
    # A batch of one made in this order counts as one with the channels last; `image[None]` does not, and takes longer.
    batch = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return interpolate(batch, (height, width), mode=interpolation, antialias=True)[0]


def _jittered(view: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Move the colors in a random order, as torchvision's ColorJitter does.

    Pillow takes a fifth of torch's time for it: 2.7 against 14.9 ms at 224 pixels.
    """
    *adjusted, hue = (strength * most for most in _JITTER)
    picture = Image.fromarray(view.permute(1, 2, 0).numpy())
    for step in torch.randperm(4, generator=generator).tolist():
        if step == len(adjusted):
            picture = F.adjust_hue(picture, _between(-hue, hue, generator))
        else:
            adjust, most = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)[step], adjusted[step]
            picture = adjust(picture, _between(max(0.0, 1 - most), 1 + most, generator))
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def _between(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * chance(generator)


def normalise(images: torch.Tensor, spec: ImageSpec, out: torch.Tensor | None = None) -> torch.Tensor:
    """Return a batch of bytes [n, 3, h, w] as the floats that a model expects, on the batch's device.

    A whole batch is normalized at once: bytes between processes and to a GPU take a quarter of the space of floats.
    With `out`, floats for as many images or more, the result is written there, for a loop that is done with the last
    batch: on a CPU, new memory of 77 MB costs more than the arithmetic.
    """
    scale = torch.tensor([1 / (255 * std) for std in spec.std], device=images.device)
    shift = torch.tensor([-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)], device=images.device)
    out = None if out is None else out[: len(images)]
    last = [given.is_contiguous(memory_format=torch.channels_last) for given in (images, out) if given is not None]
    if images.device.type != "cpu" or not all(last):
        return torch.addcmul(shift.view(1, 3, 1, 1), images.to(torch.float32), scale.view(1, 3, 1, 1), out=out)
    # Image by image, which stays in the cache, row by row, in a quarter of torch's time. numpy asks the kernel for
    # large pages and starts no threads, for which busy workers would have to wait.
    count, _, height, width = images.shape
    rows = (count, height, width * 3)
    stored = images.permute(0, 2, 3, 1).reshape(rows).numpy()
    made = np.empty(rows, np.float32) if out is None else out.permute(0, 2, 3, 1).reshape(rows).numpy()
    scales, shifts = scale.repeat(width).numpy(), shift.repeat(width).numpy()
    for source, target in zip(stored, made, strict=True):
        np.multiply(source, scales, out=target)
        target += shifts
    return torch.from_numpy(made).view(count, height, width, 3).permute(0, 3, 1, 2)


def worker_context(workers: int) -> str | None:
    """Return "fork" if worker processes can be forked; they then share the columns of the examples with this one."""
    return "fork" if workers and "fork" in multiprocessing.get_all_start_methods() else None


def read_batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield a loader's batches; raises StoppedEarly if one of its worker processes was killed."""
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads at a fork; these are torch's and Arrow's, which handle forks.
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
            batches = iter(loader)
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise StoppedEarly(
            "a worker process was killed, most often for lack of memory; run the same command again, with fewer "
            "`workers` if it happens twice"
        ) from None
