"""Intervals of accuracies and of differences between two models: exact ones, McNemar's test, and the bootstrap."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass

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


FEW = 25  # discordant images below which McNemar's test is exact
_Z_ALPHA, _Z_POWER = 1.959963984540054, 0.8416212335729143  # the normal distribution's 97.5 % and 80 %


@dataclass(frozen=True)
class Pairs:
    """The number of images, and of those that only the first or only the second model gets right."""

    images: int
    only_first: int
    only_second: int

    @property
    def discordant(self) -> int:
        """The images that exactly one of the two models gets right."""
        return self.only_first + self.only_second

    @property
    def difference(self) -> float:
        """The second model's accuracy minus the first one's."""
        return (self.only_second - self.only_first) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference."""
        counts = (self.only_second, self.only_first, self.images - self.discordant)
        return paired_interval(np.repeat([1.0, -1.0, 0.0], counts))


def mcnemar(pairs: Pairs) -> float:
    """Return the two-sided p-value of McNemar's test that both models are equally accurate.

    Below 25 discordant images it is exact (binomial), else by chi-squared with the correction for continuity.

    >>> round(mcnemar(Pairs(100, 2, 10)), 4), round(mcnemar(Pairs(1000, 30, 50)), 4)
    (0.0386, 0.0336)
    """
    count = pairs.discordant
    if count < FEW:
        tail = sum(math.comb(count, number) for number in range(min(pairs.only_first, pairs.only_second) + 1))
        return min(1.0, 2.0 * tail / float(2**count))
    chi_squared = (abs(pairs.only_first - pairs.only_second) - 1) ** 2 / count
    return math.erfc(math.sqrt(chi_squared / 2))


def paired_interval(gaps: Floats) -> tuple[float, float]:
    """Return the 95 % interval of the mean of differences, one for each image, each from -1 to 1.

    It is that of Bonett and Price for paired proportions (2012): Wald's after one image more for either side, which
    keeps its 95 % for few images and for models that hardly differ.
    """
    padded = np.concatenate([gaps, [1.0, -1.0]])
    middle, half = float(padded.mean()), _Z_ALPHA * float(padded.std()) / np.sqrt(len(padded))
    return float(middle - half), float(middle + half)


def smallest_detectable(pairs: Pairs) -> float:
    """Return the smallest difference in accuracy that a test at 5 % finds with a power of 80 %.

    With n images and the discordant share s, it solves d sqrt(n) = z(0.975) sqrt(s) + z(0.8) sqrt(s - d^2) for d
    (Miettinen 1968, Connor 1987). If s is smaller than that d, all discordant images lie on one side and s = d.

    >>> round(smallest_detectable(Pairs(50_000, 2400, 2600)), 5), round(smallest_detectable(Pairs(100, 0, 0)), 3)
    (0.00396, 0.077)
    """
    n = pairs.images
    factor = (_Z_ALPHA * math.sqrt(n) + _Z_POWER * math.sqrt(max(0.0, n - _Z_ALPHA**2 + _Z_POWER**2))) / (
        n + _Z_POWER**2
    )
    return min(1.0, factor * max(math.sqrt(pairs.discordant / n), factor))
