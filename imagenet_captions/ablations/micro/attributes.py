"""How a small image looks, read off its pixels; micro captions say some of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError

Pixels = npt.NDArray[np.uint8]

# On CIFAR's photos each of these holds for about one image in six, so that a word for it tells images apart.
DARK, BRIGHT = 90.0, 150.0  # mean luma, of 255
SOFT, CRISP = 35.0, 65.0  # standard deviation of the luma
SMALL = 0.40  # share of the edges within the middle quarter of the area: a subject with little around it
CLOSE = 0.39  # share of the edges in the outer eighth of each side: a subject that goes on beyond the frame
COLOR = 0.35  # share of the pixels that one color needs to be named

_LUMA = np.array([0.299, 0.587, 0.114])
# Where a hue ends, in degrees; from 345 on it is red again.
_HUES = ((15, "red"), (42, "orange"), (70, "yellow"), (165, "green"), (195, "turquoise"), (260, "blue"))
_HUES_AFTER = ((300, "purple"), (345, "pink"), (361, "red"))


@dataclass(frozen=True)
class Attributes:
    """How an image looks; an attribute is "" if it is ordinary."""

    light: str  # "dark", "bright"
    color: str  # "red", "brown", "grey", …
    framing: str  # "close" (the subject goes beyond the frame), "small" (in the middle of a plain ground)
    contrast: str  # "soft", "crisp"


def read_attributes(pixels: Pixels) -> Attributes:
    """Return light, dominant color, framing and contrast of an RGB image, `uint8` of [height, width, 3].

    >>> red = np.zeros((32, 32, 3), np.uint8)
    >>> red[..., 0] = 250
    >>> read_attributes(red)
    Attributes(light='dark', color='red', framing='', contrast='soft')
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputError(
            f"an image of {pixels.dtype} {list(pixels.shape)} cannot be described; give uint8 [height, width, 3]"
        )
    luma = pixels @ _LUMA
    mean, spread = float(luma.mean()), float(luma.std())
    return Attributes(
        light="dark" if mean < DARK else "bright" if mean > BRIGHT else "",
        color=_color(pixels),
        framing=_framing(luma),
        contrast="soft" if spread < SOFT else "crisp" if spread > CRISP else "",
    )


def _framing(luma: npt.NDArray[np.float64]) -> str:
    edges = np.zeros_like(luma)
    edges[:, :-1] += np.abs(np.diff(luma, axis=1))
    edges[:-1] += np.abs(np.diff(luma, axis=0))
    total = float(edges.sum())
    if total < luma.size:  # less than one level a pixel: a plain surface has no subject
        return ""
    if _inside(edges, 4) > SMALL * total:
        return "small"
    return "close" if total - _inside(edges, 8) > CLOSE * total else ""


def _inside(edges: npt.NDArray[np.float64], part: int) -> float:
    """Return the sum over the image without 1/part of its size at each side."""
    down, across = edges.shape[0] // part, edges.shape[1] // part
    return float(edges[down : edges.shape[0] - down, across : edges.shape[1] - across].sum())


def _color(pixels: Pixels) -> str:
    """Return the most frequent color, or "" if it has less than `COLOR` of the pixels."""
    rgb = pixels.reshape(-1, 3).astype(np.float64) / 255
    value, low = rgb.max(axis=1), rgb.min(axis=1)
    chroma = value - low
    names = np.full(len(rgb), "grey", dtype="<U9")
    hue = _hue(rgb, value, chroma)
    start = 0.0
    for end, name in (*_HUES, *_HUES_AFTER):
        names[(hue >= start) & (hue < end)] = name
        start = end
    names[(names == "orange") & (value < 0.75)] = "brown"
    plain = chroma < 0.18 * value
    names[plain] = "grey"
    names[plain & (value > 0.85)] = "white"
    names[value < 0.2] = "black"
    found, counts = np.unique(names, return_counts=True)
    most = int(counts.argmax())
    return str(found[most]) if counts[most] >= COLOR * len(rgb) else ""


def _hue(rgb: npt.NDArray[np.float64], value: Any, chroma: Any) -> npt.NDArray[np.float64]:
    red, green, blue = rgb.T
    safe = np.where(chroma == 0, 1, chroma)
    sixth = np.select(
        [value == red, value == green],
        [(green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    return np.asarray(60 * sixth, dtype=np.float64)
