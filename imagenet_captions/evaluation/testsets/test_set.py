"""The test set: images, each with its right answer, and the classes among which a model chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.images.examples import Class, Examples


@dataclass(frozen=True)
class Gaps:
    """The gaps of an incomplete test set: missing images, classes without images, and classes with too few."""

    missing: int
    empty: tuple[str, ...]
    short: Mapping[str, int]


@dataclass(frozen=True)
class TestSet:
    """Images with labels, and the answers of a model.

    A model chooses among `classes`. `groups` says which answer each class stands for: mostly each for itself, but
    ObjectNet's 113 answers stand for 125 classes, and the best class of a group counts for it. `labels` are indices
    into `answers`, one an image. `expected` is the size of the published set, `left_out` counts the images that are
    no part of the measurement, by reason. `listed` are the rows that the user's list leaves out.
    """

    __test__ = False  # pytest takes every class named Test… for one of its own

    name: str
    images: Examples
    labels: Labels
    classes: tuple[Class, ...]
    answers: tuple[str, ...]
    groups: Labels
    expected: int | None = None
    per_class: int | None = None
    border: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    listed: Labels = field(default_factory=lambda: np.empty(0, np.int64))

    def gaps(self) -> Gaps:
        """Return the gaps against the published set; none if no size was published."""
        counts = np.bincount(self.labels, minlength=len(self.answers)).tolist()
        by_answer = dict(zip(self.answers, counts, strict=True))
        least = self.per_class or 0
        return Gaps(
            missing=max(0, (self.expected or 0) - len(self.labels)),
            empty=tuple(key for key, count in by_answer.items() if not count) if self.expected else (),
            short={key: count for key, count in by_answer.items() if 0 < count < least},
        )

    def completeness(self) -> dict[str, Any]:
        """Return the gaps for metrics.json."""
        gaps = self.gaps()
        return {
            "expected": self.expected,
            "missing": gaps.missing,
            "empty_classes": list(gaps.empty),
            "short_classes": dict(gaps.short),
            "left_out": dict(self.left_out),
        }


def one_answer_a_class(classes: Sequence[Class]) -> tuple[tuple[str, ...], Labels]:
    """Return the answers and groups of a test set in which every class is its own answer."""
    return tuple(each.key for each in classes), np.arange(len(classes), dtype=np.int64)
