"""Per-class accuracy against how often a class is in the training data: Spearman's correlation and a slope.

As in "No zero-shot without exponential data" (Udandarao et al. 2024, arXiv 2404.04125) and "What makes CLIP more robust
to long-tailed pre-training data?" (Wen et al. 2024, arXiv 2405.21070).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.classifiers import find_columns
from imagenet_captions.evaluation.intervals import Floats
from imagenet_captions.evaluation.known_sets import KNOWN, answers_of
from imagenet_captions.evaluation.robustness.shifts import SHIFTS
from imagenet_captions.imagenet.image_ids import is_wnid
from imagenet_captions.images.examples import Class, ClassCount, class_of

IMAGES, MENTIONS = "images", "mentions"
FREQUENCIES = {IMAGES: "training images of the class", MENTIONS: "training captions that name the class"}
_LEAST = 3  # classes for a correlation


@dataclass(frozen=True)
class ClassRow:
    """A class of a test set: its test images, its accuracy in percent, and its counts in the training data."""

    test_set: str
    key: str
    name: str
    n: int
    accuracy: float
    images: int
    mentions: int


@dataclass(frozen=True)
class Relation:
    """Accuracy against one frequency over the classes of a test set.

    `slope` is in percentage points for ten times the frequency, over the classes that occur; `absent` counts the
    others. Spearman's correlation is over all classes. Both are None where every class has the same value.
    """

    test_set: str
    frequency: str
    classes: int
    absent: int
    spearman: float | None
    slope: float | None
    intercept: float | None


@dataclass(frozen=True)
class FrequencyReport:
    """The rows and relations of every test set, and why others were left out."""

    rows: tuple[ClassRow, ...]
    relations: tuple[Relation, ...]
    left_out: tuple[str, ...]


def measure_frequency(metrics: Mapping[str, Any], counts: Sequence[ClassCount]) -> FrequencyReport:
    """Relate the per-class accuracies of metrics.json to the counts of the training data's classes.

    Classes are matched by key, or else by name; one that the training data does not have occurs never. Raises
    InputError if no test set has a class of the training data.
    """
    rows: list[ClassRow] = []
    relations: list[Relation] = []
    left_out: list[str] = []
    parts_of_imagenet = {shift.same_classes for shift in SHIFTS}
    for name, entry in metrics["test_sets"].items():
        if name in parts_of_imagenet:
            continue
        if "per_class" not in entry:
            left_out.append(f"{name}: it has no accuracies by class")
            continue
        found, known = _rows(name, entry["per_class"], counts)
        if known < _LEAST:
            left_out.append(
                f"{name}: {known} of its classes are in the training data, and a correlation takes {_LEAST}"
            )
            continue
        rows += found
        relations += [_relate(name, frequency, found) for frequency in FREQUENCIES]
    if not relations:
        raise InputError(
            f"nothing can be related ({'; '.join(left_out)}); give the `data` that the model was trained on"
        )
    return FrequencyReport(tuple(rows), tuple(relations), tuple(left_out))


def _rows(test_set: str, per_class: Mapping[str, Any], counts: Sequence[ClassCount]) -> tuple[list[ClassRow], int]:
    """Return the rows of a test set, and how many of its classes the training data has."""
    rows, known = [], 0
    for (key, each), places in zip(per_class.items(), _places(test_set, list(per_class), counts), strict=True):
        known += bool(places)
        rows.append(
            ClassRow(
                test_set=test_set,
                key=key,
                name=_class(key).name,
                n=each["n"],
                accuracy=100 * each["correct"] / each["n"],
                images=sum(counts[place].images for place in places),
                mentions=sum(counts[place].mentions for place in places),
            )
        )
    return rows, known


def _places(test_set: str, keys: Sequence[str], counts: Sequence[ClassCount]) -> list[list[int]]:
    """Return the training classes that each answer stands for; one of ObjectNet's may stand for several wnids."""
    known = answers_of(KNOWN[test_set]) if test_set in KNOWN else {}
    groups = [known.get(key, (key,)) for key in keys]
    wanted = [_class(each) for group in groups for each in group]
    found = iter(find_columns([count.class_ for count in counts], wanted).tolist())
    return [[place for place in (next(found) for _ in group) if place >= 0] for group in groups]


def _class(key: str) -> Class:
    return class_of(key) if is_wnid(key) else Class(key, key)


def _relate(test_set: str, frequency: str, rows: Sequence[ClassRow]) -> Relation:
    counts = np.array([getattr(row, frequency) for row in rows], np.float64)
    accuracies = np.array([row.accuracy for row in rows])
    occurs = counts > 0
    line = fit_line(np.log10(counts[occurs]), accuracies[occurs])
    slope, intercept = line if line is not None else (None, None)
    absent = int((~occurs).sum())
    return Relation(test_set, frequency, len(rows), absent, spearman(counts, accuracies), slope, intercept)


def spearman(x: Floats, y: Floats) -> float | None:
    """Return Spearman's rank correlation, with mean ranks for ties; None if all of `x` or of `y` is the same.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    if not (np.ptp(x) and np.ptp(y)):
        return None
    return float(np.clip(np.corrcoef(_ranks(x), _ranks(y))[0, 1], -1, 1))


def fit_line(x: Floats, y: Floats) -> tuple[float, float] | None:
    """Return slope and intercept by least squares; None without a slope."""
    if len(x) < 2 or not np.ptp(x):
        return None
    slope, intercept = np.polyfit(x, y, 1)
    return float(slope), float(intercept)


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: npt.NDArray[np.float64] = np.cumsum(counts).astype(np.float64)
    return (last - (counts - 1) / 2)[places]
