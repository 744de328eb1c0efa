"""Accuracies against plain loops over the images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.accuracy import measure_accuracy, rank_of_label

KEYS = [f"class {number}" for number in range(12)]


def measured(scores: np.ndarray, labels: list[int]) -> dict[str, Any]:
    counted = np.array(labels, np.int64)
    return measure_accuracy(rank_of_label(scores.astype(np.float32), counted), counted, KEYS)


def naive_top(scores: list[list[float]], labels: list[int], k: int) -> float:
    """The share of images whose class is among the first k of the classes sorted by score, equal ones by index."""
    right = 0
    for row, label in zip(scores, labels, strict=True):
        order = sorted(range(len(row)), key=lambda column: (-row[column], column))
        right += label in order[:k]
    return right / len(labels)


@pytest.mark.parametrize(("images", "ties"), [(5000, False), (200, False), (200, True)])
def test_accuracies_are_those_of_loops(images: int, ties: bool) -> None:
    random = np.random.default_rng(images)
    scores = random.normal(size=(images, 12)).astype(np.float32)
    if ties:
        scores = np.round(scores)
    labels = random.choice([0, 1, 2, 5, 7, 11], size=images, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05]).tolist()
    found, rows = measured(scores, labels), scores.tolist()
    assert found["n"] == images
    assert (found["top1"], found["top5"]) == (naive_top(rows, labels, 1), naive_top(rows, labels, 5))
    per_class = {}
    for key in sorted(set(labels)):
        own = [row for row, label in zip(rows, labels, strict=True) if label == key]
        per_class[f"class {key}"] = {"n": len(own), "correct": round(naive_top(own, [key] * len(own), 1) * len(own))}
    assert found["per_class"] == per_class
    shares = [each["correct"] / each["n"] for each in per_class.values()]
    assert found["mean_per_class"] == pytest.approx(np.mean(shares))
    assert found["top1_interval"][0] < found["top1"] < found["top1_interval"][1]


def test_a_class_that_cannot_be_chosen_is_wrong() -> None:
    found = measured(np.array([[1, -np.inf], [1, -np.inf]]), [0, 1])
    assert (found["top1"], found["top5"]) == (0.5, 0.5)
    found = measured(np.zeros((4, 3)), [0, 1, 1, 2])
    assert (found["top1"], found["top5"], found["mean_per_class"]) == (0.25, 1.0, pytest.approx(1 / 3)), "the first"
    assert measured(np.full((1, 2), -np.inf), [0])["top5"] == 0
    with pytest.raises(InputError, match="no image"):
        measured(np.empty((0, 2)), [])
