"""Checks of encoded images by their headers and ends, without decoding them; packaging and training use them."""

from __future__ import annotations

import io
import warnings

# Twice Pillow's own limit, where it stops warning and refuses: the largest ILSVRC image has 26 million pixels.
MOST_PIXELS = 178_956_970

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
_STAND_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"


def fault_of(data: memoryview) -> str | None:
    """Return what is wrong with the bytes of an image, or None if they are usable.

    The bytes are never decoded, so that a decompression bomb costs nothing, and what they are called does not
    matter: ILSVRC-2012 has a PNG named JPEG, and CMYK.

    >>> fault_of(memoryview(b""))
    'zero bytes'
    >>> fault_of(memoryview(b"<html>429 Too Many Requests</html>"))
    'not an image'
    """
    return fault_and_colors(data)[0]


def fault_and_colors(data: memoryview) -> tuple[str | None, int]:
    """Return what `fault_of` does, and the number of color components of a JPEG; 0 for anything else."""
    if not len(data):
        return "zero bytes", 0
    # Nearly all are JPEGs whose markers are in order; Pillow takes 30 us and a copy to say the same of them.
    size, colors, scan = _jpeg_header(data)
    size = size or _size_by_pillow(data)
    if size is None:
        return "not an image", colors
    if size[0] * size[1] > MOST_PIXELS:
        return f"more than {MOST_PIXELS:,} pixels", colors
    return None if _has_end(data, scan) else "cut off before its end", colors


def size_of(data: memoryview) -> tuple[int, int] | None:
    """Return width and height of an image in pixels, or None if its bytes do not say so."""
    return _jpeg_header(data)[0] or _size_by_pillow(data)


def _jpeg_header(data: memoryview) -> tuple[tuple[int, int] | None, int, int]:
    """Return size and colors of a JPEG, None and 0 if its header lacks them, and the start of its first scan."""
    size, colors, at, end = None, 0, len(_SOI), len(data)
    if data[:2] != _SOI:
        return None, 0, end
    while at + 4 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == _START_OF_SCAN:
            return size, colors, at
        elif marker in _STAND_ALONE:
            at += 2
        else:
            if marker in _START_OF_FRAME and at + 10 <= end:
                colors = data[at + 9]
                size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return size, colors, end


def _size_by_pillow(data: memoryview) -> tuple[int, int] | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of too many pixels, which the caller checks, and of broken EXIF
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                return image.size
    except Image.DecompressionBombError:
        return MOST_PIXELS, 2
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return None


def _has_end(data: memoryview, scan: int) -> bool:
    """Whether a JPEG or PNG has its end marker; bytes behind it, such as padding, do not matter."""
    if data[:2] == _SOI:
        # A thumbnail in the EXIF has an end marker too, so only one after the first scan's start counts; within a
        # scan, a byte of 0xff is never followed by 0xd9 unless it is the end.
        return scan < len(data) and (data[-2:] == _EOI or bytes(data).rfind(_EOI) > scan)
    if data[: len(_PNG)] == _PNG:
        return bytes(data).rfind(_PNG_END) > 0
    return True
