"""Is this an image? Told from its header and its end, without decoding it."""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError

# Twice Pillow's own limit, where it stops warning and refuses: the largest ILSVRC image has 26 million pixels.
MOST_PIXELS = 178_956_970

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
_STAND_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def fault_of(data: bytes | memoryview) -> str | None:
    """What makes these bytes no usable image, or None if they are one.

    The bytes are never decoded, so that a decompression bomb costs nothing, and what they are called does not
    matter: ILSVRC-2012 has a PNG named JPEG, and CMYK.

    >>> fault_of(b"")
    'zero bytes'
    >>> fault_of(b"<html>429 Too Many Requests</html>")
    'not an image'
    """
    if not len(data):
        return "zero bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of too many pixels, which are checked below, and of broken EXIF
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                width, height = image.size
    except Image.DecompressionBombError:
        return f"more than {MOST_PIXELS:,} pixels"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return "not an image"
    if width * height > MOST_PIXELS:
        return f"more than {MOST_PIXELS:,} pixels"
    return None if _has_end(bytes(data)) else "cut off before its end"


def _has_end(data: bytes) -> bool:
    """Whether a JPEG or PNG has its end marker; what follows it, such as padding, does not matter."""
    if data.startswith(_SOI):
        # A thumbnail in the EXIF has an end marker too, so only one after the first scan's start counts; within a
        # scan, a byte of 0xff is never followed by 0xd9 unless it is the end.
        return data.rfind(_EOI) > _scan_start(data)
    if data.startswith(_PNG):
        return data.rfind(_PNG_END) > 0
    return True


def _scan_start(data: bytes) -> int:
    """Where a JPEG's first scan starts; the end of the data if there is none."""
    at = len(_SOI)
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return len(data)
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == _START_OF_SCAN:
            return at
        elif marker in _STAND_ALONE:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return len(data)
