"""Decode an image as PIL would show it, in RGB."""

from __future__ import annotations

import io
import warnings

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg

from imagenet_captions.images.headers import fault_of

_JPEG = b"\xff\xd8"


class BrokenImage(Exception):
    """Bytes that are no image, or not a whole one, or one too large to open; the message says which."""


def decode(data: bytes) -> torch.Tensor:
    """The pixels of an image, uint8 [3, height, width]; its memory has the channels last.

    JPEG in one or three colours is decoded by torchvision, everything else (CMYK, PNG, WebP, GIF) by Pillow; what is
    transparent is shown on black, as Pillow's `convert("RGB")` has it. Raises BrokenImage, for a decompression bomb
    before anything is decoded.
    """
    fault = fault_of(memoryview(data))
    if fault is not None:
        raise BrokenImage(fault)
    if data.startswith(_JPEG) and _components(data) in (1, 3):
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


def _components(data: bytes) -> int:
    """How many colours a JPEG has, 0 if that does not show."""
    at = len(_JPEG)
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return data[at + 9]
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0
