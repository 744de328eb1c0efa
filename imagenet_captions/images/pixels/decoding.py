"""Decode an image as PIL would show it, in RGB."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg

from imagenet_captions.images.headers import fault_of, jpeg_colors

_JPEG = b"\xff\xd8"


class BrokenImage(Exception):
    """The error for bytes that are not an image, not a whole one, or one too large to open; the message says which."""


def decode(data: bytes) -> torch.Tensor:
    """Return the pixels of an image, uint8 [3, height, width]; its memory has the channels last.

    JPEG in one or three colors is decoded by torchvision, everything else (CMYK, PNG, WebP, GIF) by Pillow; what is
    transparent is shown on black, as Pillow's `convert("RGB")` has it. Raises BrokenImage, for a decompression bomb
    before anything is decoded.
    """
    fault = fault_of(memoryview(data))
    if fault is not None:
        raise BrokenImage(fault)
    if data.startswith(_JPEG) and jpeg_colors(memoryview(data)) in (1, 3):
        try:
            # A copy, since torch warns of bytes, which cannot be written to.
            copied = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            pixels: torch.Tensor = decode_jpeg(copied, mode=ImageReadMode.RGB)
            return pixels
        except RuntimeError:
            pass  # Pillow reads some files that libjpeg's defaults do not, and says more about the others
    return _by_pillow(data)


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
