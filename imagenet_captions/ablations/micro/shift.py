"""Artificial shifts for small images: the same test images blurred, with noise, and with less contrast.

The natural shifts of the paper (V2, R, Sketch, ObjectNet) are other photos of the same classes, chosen by people. These
three are arithmetic on the pixels of the one test set; they say how a model takes such arithmetic and nothing about
natural shifts, which no set of 32 x 32 images offers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from imagenet_captions.ablations.micro.attributes import Pixels
from imagenet_captions.captions.compose import draw

# Strengths that cost a micro model a part of its accuracy and not all of it.
BLUR_RADIUS = 1.2  # of the Gaussian, in pixels
NOISE = 24.0  # standard deviation, of 255; independent for each pixel and channel
CONTRAST = 0.4  # of the distance to the image's own mean that is left


def blur(pixels: Pixels, image_id: str = "", seed: int = 0) -> Pixels:
    """Return the image through a Gaussian blur, which has no randomness."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR_RADIUS)))


def noise(pixels: Pixels, image_id: str = "", seed: int = 0) -> Pixels:
    """Return the image with Gaussian noise; the same seed and id give the same noise."""
    generator = np.random.Generator(np.random.PCG64(draw(seed, "micro noise", image_id)))
    return _as_pixels(pixels + generator.normal(0, NOISE, pixels.shape))


def contrast(pixels: Pixels, image_id: str = "", seed: int = 0) -> Pixels:
    """Return the image with its pixels drawn towards their mean, which has no randomness.

    >>> contrast(np.array([[[0, 0, 0], [200, 200, 200]]], np.uint8)).tolist()
    [[[60, 60, 60], [140, 140, 140]]]
    """
    mean = pixels.mean(axis=(0, 1))
    return _as_pixels(mean + CONTRAST * (pixels - mean))


def _as_pixels(values: npt.NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


SHIFTS: dict[str, Callable[[Pixels, str, int], Pixels]] = {"blur": blur, "noise": noise, "contrast": contrast}
