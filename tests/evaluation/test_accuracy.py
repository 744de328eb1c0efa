"""Accuracies against plain loops over the images."""

from __future__ import annotations

import numpy as np
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.accuracy import group_maximum, measure_accuracy

KEYS = [f"class {number}" for number in range(12)]


def naive_top(scores: list[list[float]], labels: list[int], k: int) -> float:
    """The share of images whose class is among the first k of the classes sorted by score, equal ones by index."""
    right = 0
    for row, label in zip(scores, labels, strict=True):
        order = sorted(range(len(row)), key=lambda column: (-row[column], column))
        right += label in order[:k]
    return right / len(labels)


def naive_mean_per_class(scores: list[list[float]], labels: list[int]) -> float:
    shares = []
    for label in sorted(set(labels)):
        rows = [row for row, own in zip(scores, labels, strict=True) if own == label]
        shares.append(sum(max(range(len(row)), key=lambda column: row[column]) == label for row in rows) / len(rows))
    return sum(shares) / len(shares)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_accuracies_are_those_of_loops(seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(5000 if seed == 0 else 200, 12)).astype(np.float32)
    if ties:
        scores = np.round(scores)
    labels = random.choice([0, 1, 2, 5, 7, 11], size=len(scores), p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    found = measure_accuracy(scores, labels, KEYS)
    rows, owns = scores.tolist(), labels.tolist()
    assert found.n == len(scores)
    assert found.top1 == naive_top(rows, owns, 1) == (scores.argmax(axis=1) == labels).mean()
    assert found.top5 == naive_top(rows, owns, 5)
    assert found.mean_per_class == pytest.approx(naive_mean_per_class(rows, owns))
    assert list(found.per_class) == [f"class {number}" for number in (0, 1, 2, 5, 7, 11)]
    assert sum(each.n for each in found.per_class.values()) == found.n
    assert sum(each.correct for each in found.per_class.values()) == found.correct
    assert found.per_class["class 5"].n == owns.count(5)


def test_a_class_that_cannot_be_chosen_is_wrong() -> None:
    scores = np.array([[1, -np.inf], [1, -np.inf]], np.float32)
    found = measure_accuracy(scores, np.array([0, 1]), KEYS[:2])
    assert (found.top1, found.top5) == (0.5, 0.5)
    found = measure_accuracy(np.zeros((4, 3), np.float32), np.array([0, 1, 1, 2]), KEYS[:3])
    assert (found.top1, found.top5, found.mean_per_class) == (0.25, 1.0, pytest.approx(1 / 3)), "the first of equals"
    nothing = np.full((1, 2), -np.inf, np.float32)
    assert measure_accuracy(nothing, np.array([0]), KEYS[:2]).top5 == 0
    with pytest.raises(InputError, match="no image"):
        measure_accuracy(nothing[:0], np.array([], np.int64), KEYS[:2])


def test_a_group_has_the_score_of_its_best_class() -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=(50, 9)).astype(np.float32)
    groups = np.array([0, 1, 2, 0, 3, 3, 1, 0, 2])
    found = group_maximum(scores, groups, 4)
    for row, grouped in zip(scores.tolist(), found.tolist(), strict=True):
        for group in range(4):
            assert grouped[group] == max(row[column] for column in range(9) if groups[column] == group)


def test_the_interval_is_around_the_accuracy() -> None:
    pytest.importorskip("scipy")
    scores = np.eye(2, dtype=np.float32)[[0, 0, 0, 1]]
    low, high = measure_accuracy(scores, np.array([0, 0, 1, 1]), KEYS[:2]).as_json()["top1_interval"]
    assert 0.19 < low < 0.20
    assert 0.99 < high < 1
