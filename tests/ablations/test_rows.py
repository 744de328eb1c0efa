"""Which rows runs train on: nested samples, skewed ones, and labels read off texts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from imagenet_captions.ablations.rows import choose_rows, long_tail_counts, nested_order, text_labels
from imagenet_captions.ablations.runs import DARK, LONG_TAIL, UNIFORM, Pick
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Class, Texts

LABELS = np.repeat(np.arange(4), [100, 100, 50, 10])
IDS = [f"image_{number:04d}" for number in range(len(LABELS))]


def no_light(row: int) -> float:
    raise AssertionError("brightness is not needed here")


def test_each_seed_draws_its_own_rows_in_which_smaller_samples_lie() -> None:
    def drawn(rows: int, seed: int) -> set[int]:
        return set(choose_rows(IDS, LABELS, Pick(kind=UNIFORM, rows=rows).seeded(seed), no_light))

    assert sorted(nested_order(IDS, LABELS, seed=0)) == list(range(len(IDS)))
    assert drawn(26, 1) < drawn(130, 1)
    assert len(drawn(26, 1)) == 26
    assert drawn(26, 1) != drawn(26, 2)
    assert Pick().seeded(3) == Pick(), "of all rows there is nothing to draw"


@pytest.mark.parametrize("rows", [26, 52, 130])
def test_a_sample_keeps_the_classes_shares(rows: int) -> None:
    counts = np.bincount(LABELS[choose_rows(IDS, LABELS, Pick(kind=UNIFORM, rows=rows), no_light)], minlength=4)
    assert np.abs(counts - np.array([100, 100, 50, 10]) * rows / 260).max() <= 1


def test_unlabelled_rows_are_sampled_too() -> None:
    unlabelled = np.full(len(IDS), -1)
    assert len(choose_rows(IDS, unlabelled, Pick(kind=UNIFORM, rows=7), no_light)) == 7
    with pytest.raises(InputError, match="the data has no labels"):
        choose_rows(IDS, unlabelled, Pick(kind=LONG_TAIL, rows=7), no_light)


def test_a_long_tail_really_is_one() -> None:
    labels = np.repeat(np.arange(10), 400)
    counts = sorted(long_tail_counts(labels, 1500, seed=0).values(), reverse=True)
    assert sum(counts) == 1500
    assert counts[0] == 400
    ratios = [later / earlier for earlier, later in pairwise(counts)]
    assert max(ratios) - min(ratios) < 0.05, "each class has the same share of the one before"
    ids = [f"i{number}" for number in range(4000)]
    chosen = labels[choose_rows(ids, labels, Pick(kind=LONG_TAIL, rows=1500), no_light)]
    assert sorted(np.bincount(chosen), reverse=True) == counts


@pytest.mark.parametrize("rows", [2, 5, 6, 12, 23])
def test_a_long_tail_of_few_rows_has_as_many_as_asked_for(rows: int) -> None:
    counts = long_tail_counts(np.repeat(np.arange(3), 8), rows, seed=0)
    assert sum(counts.values()) == rows
    assert max(counts.values()) <= 8


def test_the_darkest_of_each_class_are_taken() -> None:
    light = np.random.default_rng(0).uniform(0, 255, len(IDS))
    chosen = choose_rows(IDS, LABELS, Pick(kind=DARK, rows=130), lambda row: float(light[row]))
    for label, size in enumerate([50, 50, 25, 5]):
        own = np.array([row for row, own_label in enumerate(LABELS) if own_label == label])
        darkest = own[np.argsort(light[own])[:size]]
        assert set(darkest) == {row for row in chosen if LABELS[row] == label}


def test_more_rows_than_there_are_is_refused_or_all() -> None:
    assert choose_rows(IDS, LABELS, Pick(kind=UNIFORM, rows=None), no_light) == list(range(260))
    assert choose_rows(IDS, LABELS, Pick(kind=UNIFORM, rows=300), no_light) == list(range(260))
    with pytest.raises(InputError, match="300 rows are asked for and 260 can be trained on"):
        choose_rows(IDS, LABELS, Pick(kind=LONG_TAIL, rows=300), no_light)


ANIMALS = [Class("cat", "cat"), Class("dog", "dog"), Class("sea lion", "sea lion")]


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        (Texts(title="A Cat."), 0),
        (Texts(title="two dogs"), 1),
        (Texts(description="category"), -1),
        (Texts(tags=("sea lion",)), 2),
        (Texts(tags=("sea", "lion")), -1),
        (Texts(title="cat and dog"), -1),
        (Texts(title="cat", caption="my dog"), -1),
        (Texts(), -1),
    ],
)
def test_a_text_counts_for_the_one_class_that_it_names(texts: Texts, label: int) -> None:
    assert text_labels([texts], ANIMALS).tolist() == [label]


def test_imagenets_classes_go_by_all_their_names() -> None:
    some = [Class("n01440764", "tench"), Class("n02012849", "crane bird")]
    rows = [Texts(title="Tinca tinca"), Texts(title="a tench and a goldfish"), Texts(title="restaurant")]
    assert text_labels(rows, some).tolist() == [0, 0, -1]
