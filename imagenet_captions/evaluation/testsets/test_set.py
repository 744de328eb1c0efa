"""What a test set is: images, each with the answer that is right, and the classes among which a model chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.images.examples import Class


class Images(Protocol):
    """Encoded images by index; picklable, so that worker processes read for themselves."""

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> str:
        """What to call an image when speaking of it."""

    def image(self, index: int) -> bytes:
        """The bytes of its file."""


@dataclass(frozen=True)
class Chosen:
    """Some of the images, in a given order."""

    images: Images
    indices: Labels

    def __len__(self) -> int:
        return len(self.indices)

    def image_id(self, index: int) -> str:
        """What to call an image when speaking of it."""
        return self.images.image_id(int(self.indices[index]))

    def image(self, index: int) -> bytes:
        """The bytes of its file."""
        return self.images.image(int(self.indices[index]))


@dataclass(frozen=True)
class Gaps:
    """What an incomplete test set lacks: images in all, classes without any, and classes with fewer than they had."""

    missing: int
    empty: tuple[str, ...]
    short: Mapping[str, int]


@dataclass(frozen=True)
class TestSet:
    """Images with labels, and what a model may answer.

    A model chooses among `classes`. `groups` says which answer each class stands for: mostly each for itself, but
    ObjectNet's 113 answers stand for 125 classes, and the best class of a group counts for it. `labels` are indices
    into `answers`, one an image. `expected` is the size of the published set, `left_out` counts the images that are
    no part of the measurement, by reason.
    """

    __test__ = False  # pytest takes every class named Test… for one of its own

    name: str
    images: Images
    labels: Labels
    classes: tuple[Class, ...]
    answers: tuple[str, ...]
    groups: Labels
    expected: int | None = None
    per_class: int | None = None
    border: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def gaps(self) -> Gaps:
        """What is missing from the published set; nothing, where no size was published."""
        counts = np.bincount(self.labels, minlength=len(self.answers)).tolist()
        by_answer = dict(zip(self.answers, counts, strict=True))
        least = self.per_class or 0
        return Gaps(
            missing=max(0, (self.expected or 0) - len(self.labels)),
            empty=tuple(key for key, count in by_answer.items() if not count) if self.expected else (),
            short={key: count for key, count in by_answer.items() if 0 < count < least},
        )

    def completeness(self) -> dict[str, Any]:
        """The same for metrics.json."""
        gaps = self.gaps()
        return {
            "expected": self.expected,
            "missing": gaps.missing,
            "empty_classes": list(gaps.empty),
            "short_classes": dict(gaps.short),
            "left_out": dict(self.left_out),
        }


def one_answer_a_class(classes: Sequence[Class]) -> tuple[tuple[str, ...], Labels]:
    """Answers and groups of a test set in which every class is an answer of its own."""
    return tuple(each.key for each in classes), np.arange(len(classes), dtype=np.int64)
