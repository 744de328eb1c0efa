"""Ranks against plain loops over the images; tests of evaluate count accuracies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.accuracy import measure_accuracy, rank_of_label

KEYS = [f"class {number}" for number in range(12)]


@pytest.mark.parametrize(("images", "ties"), [(5000, False), (200, True)])
def test_ranks_are_those_of_sorted_classes(images: int, ties: bool) -> None:
    random = np.random.default_rng(images)
    scores = random.normal(size=(images, 12)).astype(np.float32)
    if ties:
        scores = np.round(scores)
    labels = random.integers(0, 12, images)
    expected = []
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        order = sorted(range(12), key=lambda column: (-row[column], column))
        expected.append(order.index(label))
    ranks = rank_of_label(scores, labels)
    assert ranks.tolist() == expected
    found = measure_accuracy(ranks, labels, KEYS)
    exact = binomtest(expected.count(0), images).proportion_ci()
    assert found["top1_interval"] == pytest.approx([exact.low, exact.high])


def test_a_class_that_cannot_be_chosen_is_wrong() -> None:
    scores = np.array([[1, -np.inf], [1, -np.inf], [-np.inf, -np.inf]], np.float32)
    ranks = rank_of_label(scores, np.array([0, 1, 0]))
    assert ((ranks < 5).tolist(), (ranks == 0).tolist()) == ([True, False, False],) * 2
    with pytest.raises(InputError, match="no image"):
        measure_accuracy(ranks[:0], ranks[:0], KEYS)
