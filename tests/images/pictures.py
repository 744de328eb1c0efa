"""Pictures with something in them, made here."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Smooth colours, an edge and a little noise, which is about what a photo has."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    waves = [128 + 100 * np.sin(x / chance.uniform(9, 40) + y / chance.uniform(9, 40)) for _ in range(3)]
    pixels = np.stack(waves, -1) + chance.normal(0, 4, (height, width, 3))
    pixels[height // 3 : height // 2, width // 4 : width // 2] = chance.uniform(0, 255, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    """The bytes of a picture."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def photos(count: int) -> list[bytes]:
    """JPEGs of several sizes."""
    sizes = [(500, 375), (333, 500), (300, 224), (640, 480), (120, 90), (224, 224)]
    return [encoded(picture(*sizes[at % len(sizes)], seed=at), quality=90) for at in range(count)]
