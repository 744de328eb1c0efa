"""Decode an image as PIL would show it, in RGB."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg

from imagenet_captions.images.headers import fault_and_colors

try:
    import simplejpeg
except ImportError:  # it has no wheel for this platform or Python
    simplejpeg = None


class BrokenImage(Exception):
    """The error for bytes that are not an image, not a whole one, or one too large to open; the message says which."""


def decode(data: bytes) -> torch.Tensor:
    """Return the pixels of an image, uint8 [3, height, width]; its memory has the channels last.

    JPEG in one or three colors is decoded by simplejpeg, or by torchvision if simplejpeg is not installed or warns;
    both give the same pixels. Everything else (CMYK, PNG, WebP, GIF) is decoded by Pillow; what is transparent is shown
    on black, as Pillow's `convert("RGB")` has it. Raises BrokenImage, for a decompression bomb before anything is
    decoded.
    """
    fault, colors = fault_and_colors(memoryview(data))
    if fault is not None:
        raise BrokenImage(fault)
    pixels = None
    if colors in (1, 3):
        pixels = _by_simplejpeg(data)
        pixels = _by_torchvision(data) if pixels is None else pixels
    return _by_pillow(data) if pixels is None else pixels


def _by_simplejpeg(data: bytes) -> torch.Tensor | None:
    if simplejpeg is None:
        return None
    try:
        return torch.from_numpy(simplejpeg.decode_jpeg(data)).permute(2, 0, 1)
    except ValueError:
        return None  # it refuses damaged files of which libjpeg only warns


def _by_torchvision(data: bytes) -> torch.Tensor | None:
    try:
        # A copy, since torch warns of bytes, which cannot be written to.
        copied = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        pixels: torch.Tensor = decode_jpeg(copied, mode=ImageReadMode.RGB)
        return pixels
    except RuntimeError:
        return None  # Pillow reads some files that libjpeg's defaults do not, and says more about the others


def _by_pillow(data: bytes) -> torch.Tensor:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken EXIF, and of palettes
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.array(image.convert("RGB"))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise BrokenImage(str(error)[:200]) from None
    return torch.from_numpy(pixels).permute(2, 0, 1)
