"""Confidence intervals of accuracies: exact ones, and test sets drawn again for the bootstrap."""

from __future__ import annotations

import importlib.util

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 1000
CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2


def exact_intervals_possible() -> bool:
    """Return whether scipy is installed, which `clopper_pearson` needs and the core does not install."""
    return importlib.util.find_spec("scipy") is not None


def clopper_pearson(percent: float, images: int) -> tuple[float, float]:
    """Return the exact 95 % interval of an accuracy in percent over so many images (Clopper and Pearson 1934).

    >>> [round(end, 1) for end in clopper_pearson(50.0, 100)]
    [39.8, 60.2]
    """
    from scipy.special import betaincinv

    right = round(percent / 100 * images)
    low = float(betaincinv(right, images - right + 1, _TAIL)) if right else 0.0
    high = float(betaincinv(right + 1, images - right, 1 - _TAIL)) if right < images else 1.0
    return 100 * low, 100 * high


def draw_accuracies(percent: float, images: int, seed: int) -> Floats:
    """Return the accuracies on bootstrap test sets of this size; each test set has its own seed."""
    right = np.random.default_rng([1, seed]).binomial(images, percent / 100, size=DRAWS)
    return np.asarray(right / images * 100, dtype=np.float64)


def middle(draws: npt.ArrayLike) -> tuple[float, float]:
    """Return the ends of the middle 95 % of draws."""
    low, high = np.quantile(np.asarray(draws, dtype=np.float64), [_TAIL, 1 - _TAIL])
    return float(low), float(high)
