"""Choose rows: those with a caption, seeded samples (a larger one contains the smaller ones), skewed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.runs import LONG_TAIL, UNIFORM, Pick
from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Class, Examples, Texts, find_named, select
from imagenet_captions.training.data import make_sampler, with_captions

Ints = npt.NDArray[np.int64]


def usable_rows(examples: Examples, need: str, ids: Sequence[str]) -> list[int]:
    """Return the rows that have the needed caption, and a label if the data has labels."""
    rows = range(len(examples)) if examples.classes is None else np.flatnonzero(examples.labels >= 0).tolist()
    if not need:
        return list(rows)
    some = select(examples, list(rows))
    captioned = with_captions(some, make_sampler(some, CaptionTemplate.parse(need), seed=0))
    kept = {captioned.image_id(row) for row in range(len(captioned))}
    return [row for row in rows if ids[row] in kept]


def text_labels(texts: Iterable[Texts], classes: Sequence[Class]) -> Ints:
    """Return for each row the only class that it names, or -1 if it names none or several, as the paper's NoCLIP does.

    >>> animals = [Class("cat", "cat"), Class("dog", "dog")]
    >>> text_labels([Texts(title="My cats"), Texts(title="cat", tags=("dog",)), Texts(caption="a Dog!")], animals)
    array([ 0, -1,  1])
    """
    named = find_named(texts, classes)
    return np.fromiter((labels[0] if len(labels) == 1 else -1 for labels in named), np.int64)


def nested_order(ids: Sequence[str], labels: Ints, seed: int) -> list[int]:
    """Return all rows in a seeded order; every prefix is a sample with the classes' own shares.

    >>> nested_order(["a", "b", "c", "d"], np.array([0, 0, 0, 1]), seed=0)
    [2, 0, 3, 1]
    """
    by_key = sorted(range(len(ids)), key=lambda at: (sampling_key(ids[at], seed), ids[at]))
    totals = {int(label): int(count) for label, count in zip(*np.unique(labels, return_counts=True), strict=True)}
    taken = dict.fromkeys(totals, 0)
    place: dict[int, float] = {}
    for at in by_key:
        label = int(labels[at])
        taken[label] += 1
        place[at] = (taken[label] - 0.5) / totals[label]
    rank = {at: number for number, at in enumerate(by_key)}
    return sorted(by_key, key=lambda at: (place[at], rank[at]))


def choose_rows(ids: Sequence[str], labels: Ints, pick: Pick, luma: Callable[[int], float]) -> list[int]:
    """Return the rows of a pick in ascending order; `luma` returns the mean brightness of a row's image.

    Raises InputError if there are too few rows, or if a skewed sample has no classes to keep even.
    """
    kind, rows, seed = pick.kind, pick.rows, pick.seed
    order = nested_order(ids, labels, seed)
    if rows is None or (kind == UNIFORM and rows >= len(ids)):
        return sorted(order)
    if rows > len(ids):
        raise InputError(f"{rows:,} rows are asked for and {len(ids):,} can be trained on; give more data")
    if kind == UNIFORM:
        return sorted(order[:rows])
    if (labels < 0).any():
        raise InputError(f"a {kind} sample is taken class by class, and the data has no labels; give labeled data")
    if kind == LONG_TAIL:
        return sorted(_per_class(order, labels, long_tail_counts(labels, rows, seed)))
    darkest_first = sorted(order, key=lambda at: (luma(at), ids[at]))
    return sorted(_per_class(darkest_first, labels, _even_counts(labels, rows)))


def long_tail_counts(labels: Ints, rows: int, seed: int) -> dict[int, int]:
    """Return numbers of images that fall by a constant factor from class to class, from all or half of `rows`.

    Which class comes first is left to the seed.

    >>> sorted(long_tail_counts(np.repeat(np.arange(4), 100), 150, seed=0).values())
    [12, 22, 41, 75]
    """
    found, counts = np.unique(labels, return_counts=True)
    available = np.minimum(counts, (rows + 1) // 2)  # of few rows the first class gets half and not all
    order = sorted(range(len(found)), key=lambda at: sampling_key(f"class {found[at]}", seed))
    ranks = np.empty(len(found))
    ranks[order] = np.arange(len(found))
    low, high = 0.0, 1.0  # the factor; 1 gives all images of all classes
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (available * middle**ranks).sum() < rows else (low, middle)
    exact = available * high**ranks
    return dict(zip(map(int, found), _rounded(exact, rows, available), strict=True))


def _even_counts(labels: Ints, rows: int) -> dict[int, int]:
    """Return numbers of images in the classes' own shares."""
    found, available = np.unique(labels, return_counts=True)
    return dict(zip(map(int, found), _rounded(available * rows / len(labels), rows, available), strict=True))


def _rounded(exact: npt.NDArray[np.float64], total: int, most: Ints) -> list[int]:
    """Round numbers to integers with this sum; the largest remainders are rounded up."""
    counts = np.minimum(np.floor(exact).astype(np.int64), most)
    for at in sorted(range(len(exact)), key=lambda at: counts[at] - exact[at]):
        if counts.sum() == total:
            break
        counts[at] += counts[at] < most[at]
    return [int(count) for count in counts]


def _per_class(order: Sequence[int], labels: Ints, counts: dict[int, int]) -> list[int]:
    left = dict(counts)
    kept = []
    for at in order:
        label = int(labels[at])
        if left[label]:
            left[label] -= 1
            kept.append(at)
    return kept
