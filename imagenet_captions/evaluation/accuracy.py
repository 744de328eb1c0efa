"""Accuracies of a classifier: top-1, top-5, the mean over classes, and those of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import clopper_pearson

Scores = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

_ROWS_AT_ONCE = 4096


def measure_accuracy(ranks: Labels, labels: Labels, keys: Sequence[str]) -> dict[str, Any]:
    """Return the entry of metrics.json for images whose classes, indices into `keys`, have these ranks.

    `mean_per_class` is the mean over the classes that have images.

    >>> found = measure_accuracy(np.array([0, 1]), np.array([1, 2]), ["a", "b", "c"])
    >>> found["top1"], found["mean_per_class"], found["per_class"]["c"]
    (0.5, 0.5, {'n': 1, 'correct': 0})
    """
    if not len(labels):
        raise InputError("no image is left to measure an accuracy on; check that the test set's images can be read")
    n = np.bincount(labels, minlength=len(keys))
    correct = np.bincount(labels[ranks == 0], minlength=len(keys))
    present = np.flatnonzero(n).tolist()
    top1 = int((ranks == 0).sum()) / len(labels)
    return {
        "n": len(labels),
        "top1": top1,
        "top5": int((ranks < 5).sum()) / len(labels),
        "mean_per_class": float((correct[present] / n[present]).mean()),
        "classes": len(present),
        "per_class": {keys[at]: {"n": int(n[at]), "correct": int(correct[at])} for at in present},
        "top1_interval": [end / 100 for end in clopper_pearson(100 * top1, len(labels))],
    }


def rank_of_label(scores: Scores, labels: Labels) -> Labels:
    """Return how many classes rank before an image's own: higher scores `[images, classes]`, and equal ones before it.

    A class that cannot be chosen has the score -inf. Raises InputError for a NaN score, which a broken checkpoint gives
    and which has no rank.
    """
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
