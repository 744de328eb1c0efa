"""Decoding beside Pillow."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imagenet_captions.images.pixels import BrokenImage, decode, decoding
from tests.images.pixels.pictures import encoded, photos, picture


def by_pillow(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


def test_a_jpeg_is_what_pillow_has() -> None:
    for data in photos(4):
        pixels = decode(data)
        assert pixels.shape[0] == 3
        assert np.abs(pixels.permute(1, 2, 0).numpy().astype(int) - by_pillow(data)).mean() < 0.5


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        ("JPEG", "L"),
        ("JPEG", "CMYK"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("PNG", "P"),
        ("PNG", "LA"),
        ("PNG", "I;16"),
        ("WEBP", "RGB"),
        ("GIF", "P"),
        ("BMP", "RGB"),
    ],
)
def test_other_forms_and_modes(form: str, mode: str) -> None:
    drawn = picture(40, 30)
    data = encoded(Image.new(mode, (40, 30), 700) if mode == "I;16" else drawn.convert(mode), form)
    pixels = decode(data).permute(1, 2, 0).numpy()
    assert pixels.shape == (30, 40, 3)
    assert np.abs(pixels.astype(int) - by_pillow(data)).max() <= 2


def test_what_is_no_image_is_said() -> None:
    whole = photos(1)[0]
    for data, words in [
        (b"", "zero bytes"),
        (b"<html>", "not an image"),
        (whole[: len(whole) // 2], "cut off"),
        (encoded(picture(40, 30), "PNG")[:-30], "cut off|truncated"),
    ]:
        with pytest.raises(BrokenImage, match=words):
            decode(data)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b"")
    )
    with pytest.raises(BrokenImage, match="pixels"):
        decode(bomb)


JPEGS = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "poor": {"quality": 10},
    "restarts": {"restart_marker_rows": 1},
}


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_both_decoders_of_jpeg_give_the_same_pixels(name: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    stored = io.BytesIO()
    picture(173, 131).convert(mode).save(stored, "JPEG", **JPEGS[name])
    data = stored.getvalue()
    fast = decode(data)
    monkeypatch.setattr(decoding, "simplejpeg", None)
    slow = decode(data)
    assert fast.equal(slow)
    assert fast.stride() == slow.stride() == (1, 173 * 3, 3)


def test_simplejpeg_decodes_ordinary_jpegs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("simplejpeg")
    monkeypatch.setattr(decoding, "decode_jpeg", None)  # torchvision's; a call would fail
    assert decode(photos(1)[0]).shape[0] == 3


def test_a_damaged_jpeg_is_the_same_with_and_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """libjpeg warns of these and goes on; simplejpeg refuses them."""
    whole = photos(1)[0]
    scan = whole.index(b"\xff\xda")
    damaged = [whole[: len(whole) // 2] + b"\xff\xd9", whole[: scan + 200] + b"\xff\xd3" + whole[scan + 202 :]]
    seen = [decode(data) for data in damaged]
    monkeypatch.setattr(decoding, "simplejpeg", None)
    assert all(decode(data).equal(pixels) for data, pixels in zip(damaged, seen, strict=True))
