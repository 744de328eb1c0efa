"""Intervals of accuracies and of differences between two models: exact ones, McNemar's test, and the bootstrap."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
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


_SMALLEST_P = 1e-12
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
    """Return the two-sided mid-p value of McNemar's test that both models are equally accurate.

    It is the exact binomial one with half the probability of what was seen, so that it rejects as often as it says
    (Fagerland, Lydersen and Laake 2013).

    >>> [round(mcnemar(Pairs(1000, *seen)), 4) for seen in ((2, 10), (20, 20), (20, 21))]
    [0.0225, 1.0, 0.8776]
    """
    count, fewer = pairs.discordant, min(pairs.only_first, pairs.only_second)
    of_all = math.lgamma(count + 1) - count * math.log(2)
    terms = [math.exp(of_all - math.lgamma(k + 1) - math.lgamma(count - k + 1)) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(terms) - terms[-1])


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


@dataclass(frozen=True)
class Estimate:
    """A difference between two arms, its 95 % interval, and the p-value that it is zero; `by_seed` is each seed's."""

    value: float
    low: float
    high: float
    p_value: float
    by_seed: tuple[float, ...]


def over_seeds_and_images(by_seed: Sequence[float], of_mean: float, of_seeds: float) -> Estimate:
    """Return the mean difference over two or more seeds, as an estimate for new seeds and new images.

    `of_mean` is the variance over images of the mean over seeds, and `of_seeds` the part of it in which the images of
    single seeds differ from that mean. The variance of the estimate is that between seeds over their number, which has
    the part of single seeds in it, and what images add to it: max(0, of_mean - of_seeds). Its critical value is the
    mean of Student's t with a degree of freedom less than seeds and of the normal distribution, weighted with the two
    variances (Cochran and Cox 1950). Satterthwaite's degrees of freedom reject too often at two seeds.

    >>> found = over_seeds_and_images([1.0, 2.0, 3.0], of_mean=0.0, of_seeds=0.0)
    >>> round(found.value, 2), round(found.low, 2), round(found.high, 2), round(found.p_value, 3)
    (2.0, -0.48, 4.48, 0.074)
    """
    from scipy import optimize, stats

    values = np.asarray(by_seed, np.float64)
    between = float(values.var(ddof=1)) / len(values)
    images = max(0.0, of_mean - of_seeds)
    value, error = float(values.mean()), math.sqrt(between + images)

    def critical(p_value: float) -> float:
        t, z = stats.t.isf(p_value / 2, len(values) - 1), stats.norm.isf(p_value / 2)
        return float((between * t + images * z) / (between + images))

    if not error:  # all seeds agree to the last digit, as with models that give the same answers
        return Estimate(value, value, value, float(value == 0), tuple(by_seed))
    half, seen = critical(1 - CONFIDENCE) * error, abs(value) / error
    if critical(_SMALLEST_P) <= seen:
        p_value = _SMALLEST_P
    else:
        p_value = float(optimize.brentq(lambda p: critical(p) - seen, _SMALLEST_P, 1.0, xtol=_SMALLEST_P))
    return Estimate(value, value - half, value + half, p_value, tuple(by_seed))


def image_variances(gaps: Floats) -> tuple[float, float]:
    """Return `of_mean` and `of_seeds` of the differences `[seeds, images]` between two arms, in their unit squared."""
    seeds, images = gaps.shape
    of_mean = float(gaps.mean(axis=0).var(ddof=1)) / images
    residuals = gaps - gaps.mean(axis=0) - gaps.mean(axis=1, keepdims=True) + gaps.mean()
    return of_mean, float((residuals**2).sum()) / ((seeds - 1) * (images - 1)) / (seeds * images)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        adjusted[at] = largest
    return adjusted
