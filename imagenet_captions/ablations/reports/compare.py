"""Differences between two arms on the same test images, with their intervals.

All arms are tested on the same images, so what counts is the images on which they differ. The formula of the interval
takes means too, over seeds or over several shifts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import DRAWS, middle, paired_interval

Floats = npt.NDArray[np.float64]
Answers = Mapping[str, npt.NDArray[np.bool_]]  # test set → for each of its images, whether the run was right


@dataclass(frozen=True)
class Difference:
    """How far one arm is above another in percentage points; `by_seed` holds the difference of each seed."""

    value: float
    low: float
    high: float
    images: int
    by_seed: tuple[float, ...]

    @property
    def settled(self) -> bool:
        """Whether the difference is significant: the interval excludes 0, and all seeds agree on the sign."""
        same_way = all(value > 0 for value in self.by_seed) or all(value < 0 for value in self.by_seed)
        return (self.low > 0 or self.high < 0) and same_way


def difference(first: Sequence[Floats], second: Sequence[Floats]) -> Difference:
    """Return the mean difference between two arms' scores on the same images; each has one row a seed.

    >>> right, wrong = np.ones(100), np.zeros(100)
    >>> found = difference([right], [np.concatenate([right[:90], wrong[:10]])])
    >>> round(found.value, 1), round(found.low, 1), round(found.high, 1), found.settled
    (10.0, 3.4, 16.2, True)
    """
    if len(first) != len(second) or not first:
        raise InputError(f"{len(first)} seeds cannot be compared with {len(second)}; run both arms with the same seeds")
    if {len(scores) for scores in (*first, *second)} != {len(first[0])} or not len(first[0]):
        raise InputError("arms that were tested on different images cannot be compared; evaluate both on the same sets")
    gaps = np.stack([np.asarray(a, np.float64) - np.asarray(b, np.float64) for a, b in zip(first, second, strict=True)])
    by_image = gaps.mean(axis=0)
    low, high, value = (100 * float(number) for number in (*paired_interval(by_image), by_image.mean()))
    return Difference(value, low, high, len(by_image), tuple(100 * float(gap.mean()) for gap in gaps))


def mean_score(answers: Answers, sets: Sequence[str]) -> Floats:
    """Return for each image the share of test sets in which it was recognized; all hold the same images in order."""
    if len({len(answers[name]) for name in sets}) != 1:
        raise InputError(f"the test sets {', '.join(sets)} hold different images, so they have no mean over images")
    stacked = np.stack([np.asarray(answers[name], np.float64) for name in sets])
    return np.asarray(stacked.mean(axis=0), dtype=np.float64)


def drawn_difference(
    values: Sequence[tuple[float, float]], draws: Sequence[tuple[Floats, Floats]], images: int
) -> Difference:
    """Return the mean difference of two arms in a quantity with bootstrap draws, one pair for each seed.

    The interval is the middle 95 % of the draws, in each of which seeds are drawn anew too; a draw is the same images,
    and the same fit of the baseline, for both arms.
    """
    by_seed = tuple(first - second for first, second in values)
    gaps = np.stack([first - second for first, second in draws], axis=1)
    low, high = middle((draw_seeds(len(by_seed)) * gaps).sum(axis=1) / len(by_seed))
    return Difference(float(np.mean(by_seed)), low, high, images, by_seed)


def draw_seeds(count: int) -> Floats:
    """Return how often each seed is drawn in each draw of a bootstrap."""
    return np.random.default_rng(4).multinomial(count, np.full(count, 1 / count), size=DRAWS).astype(np.float64)
