"""Accuracies of a classifier: top-1, top-5, the mean over classes, and those of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import clopper_pearson, exact_intervals_possible

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class ClassAccuracy:
    """The number of images of one class, and how many of them were classified correctly."""

    n: int
    correct: int


@dataclass(frozen=True)
class Accuracy:
    """Accuracies as fractions of `n` images; `mean_per_class` is the mean over the classes that have images.

    With fewer than six classes, every image is right among the first five.
    """

    n: int
    correct: int
    top5_correct: int
    mean_per_class: float
    per_class: Mapping[str, ClassAccuracy]

    @property
    def top1(self) -> float:
        """The share of images whose class has the highest score."""
        return self.correct / self.n

    @property
    def top5(self) -> float:
        """The share of images whose class is among the five highest scores."""
        return self.top5_correct / self.n

    def as_json(self) -> dict[str, Any]:
        """Return the entry of metrics.json; it has the interval if scipy is installed."""
        found: dict[str, Any] = {
            "n": self.n,
            "top1": self.top1,
            "top5": self.top5,
            "mean_per_class": self.mean_per_class,
            "classes": len(self.per_class),
            "per_class": {key: {"n": each.n, "correct": each.correct} for key, each in self.per_class.items()},
        }
        if exact_intervals_possible():
            found["top1_interval"] = [end / 100 for end in clopper_pearson(100 * self.top1, self.n)]
        return found


def measure_accuracy(scores: Scores, labels: Labels, keys: Sequence[str]) -> Accuracy:
    """Return the accuracy of scores `[images, classes]` against each image's class, an index into `keys`.

    The highest score wins, and among equal ones the first class. A class that cannot be chosen has the score -inf.

    >>> found = measure_accuracy(np.array([[1, 2, 0], [3, 1, 3]], np.float32), np.array([1, 2]), ["a", "b", "c"])
    >>> found.top1, found.mean_per_class, found.per_class["c"]
    (0.5, 0.5, ClassAccuracy(n=1, correct=0))

    Raises InputError for a NaN score, which a broken checkpoint gives and which has no rank.
    """
    return count_accuracy(rank_of_label(scores, labels), labels, keys)


def count_accuracy(ranks: Labels, labels: Labels, keys: Sequence[str]) -> Accuracy:
    """Return the accuracy of images whose classes have these ranks."""
    if not len(labels):
        raise InputError("no image is left to measure an accuracy on; check that the test set's images can be read")
    n = np.bincount(labels, minlength=len(keys))
    correct = np.bincount(labels[ranks == 0], minlength=len(keys))
    present = n > 0
    return Accuracy(
        n=len(labels),
        correct=int((ranks == 0).sum()),
        top5_correct=int((ranks < 5).sum()),
        mean_per_class=float((correct[present] / n[present]).mean()),
        per_class={
            key: ClassAccuracy(int(images), int(right))
            for key, images, right in zip(keys, n, correct, strict=True)
            if images
        },
    )


def rank_of_label(scores: Scores, labels: Labels) -> Labels:
    """Return how many classes rank before an image's own: higher scores, and equal ones that come first."""
    ranks = np.empty(len(labels), np.int64)
    order = np.arange(scores.shape[1])
    for start in range(0, len(labels), _ROWS_AT_ONCE):
        some, own = scores[start : start + _ROWS_AT_ONCE], labels[start : start + _ROWS_AT_ONCE, None]
        if np.isnan(some).any():
            raise InputError("the model's scores are NaN, so its weights are broken; give another checkpoint")
        of_own = np.take_along_axis(some, own, axis=1)
        # An image whose class cannot be chosen is wrong, however few classes stand before it.
        before = (some > of_own) | ((some == of_own) & (order < own))
        ranks[start : start + _ROWS_AT_ONCE] = np.where(np.isneginf(of_own[:, 0]), len(order) + 5, before.sum(axis=1))
    return ranks


def group_maximum(scores: Scores, groups: Labels, count: int) -> Scores:
    """Return the best score in each group of classes; `groups` holds the group of each column.

    >>> group_maximum(np.array([[1, 5, 2]], np.float32), np.array([0, 1, 0]), 2)
    array([[2., 5.]], dtype=float32)
    """
    grouped = np.full((len(scores), count), -np.inf, np.float32)
    for column, group in enumerate(groups):
        np.maximum(grouped[:, group], scores[:, column], out=grouped[:, group])
    return grouped
