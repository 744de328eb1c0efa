"""Per-class accuracy against how often a class is in the training data: Spearman's correlation and a slope.

As in "No zero-shot without exponential data" (Udandarao et al. 2024, arXiv 2404.04125) and "What makes CLIP more robust
to long-tailed pre-training data?" (Wen et al. 2024, arXiv 2405.21070).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from imagenet_captions.errors import InputError, aligned
from imagenet_captions.evaluation.classifiers import find_columns
from imagenet_captions.evaluation.drawing import COLORS, LINE, add_grid, legend_text, new_figure
from imagenet_captions.evaluation.intervals import Floats, exact_intervals_possible
from imagenet_captions.evaluation.known_sets import KNOWN, answers_of
from imagenet_captions.evaluation.robustness.tables import SHIFTS
from imagenet_captions.imagenet.image_ids import is_wnid
from imagenet_captions.images.examples import Class, ClassCount, class_of
from imagenet_captions.storage.files import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FREQUENCIES = {"images": "training images of the class", "mentions": "training captions that name the class"}
_LEAST = 3  # classes for a correlation, and for a slope
_LEAST_SPAN = 2.0  # of the largest count over the smallest, for a slope


@dataclass(frozen=True)
class TrainedOn:
    """The data that a model was trained on: `ids` name its images, `caption` is the template of the captions.

    `settings` is the file of a run that says so.
    """

    data: Path
    ids: Path | None = None
    caption: str | None = None
    seed: int = 0
    settings: Path | None = None


class _Ids(msgspec.Struct):
    file: str


class _Recipe(msgspec.Struct):
    caption: str | None = None


class _Run(msgspec.Struct):
    data: str
    seed: int
    ids: _Ids | None
    recipe: _Recipe
    started_in: str = ""


def read_trained_on(place: Path) -> TrainedOn:
    """Return the data that a run's settings name.

    Raises InputError for a place that is not a run, such as a metrics.json outside.
    """
    path = (place if place.is_dir() else place.parent) / "settings.json"
    if not path.is_file():
        raise InputError(f"{path} is not there, so the training data of {place} is unknown; give it as `data`")
    run = read_json(path, _Run, "the run's settings")

    def find(name: str) -> Path:
        """Return a path as seen from the folder in which the run was started, or from here if that has moved."""
        here, there = Path(name), Path(run.started_in) / name
        return here if here.exists() and not there.exists() else there

    ids = None if run.ids is None else find(run.ids.file)
    return TrainedOn(find(run.data), ids, run.recipe.caption, run.seed, path)


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

    `slope` is in percentage points for ten times the frequency, over the classes that occur, with its interval at 95 %
    (Student's t) if scipy is installed; `absent` counts the others. It is None for fewer than three classes, or counts
    that span less than a factor of two. Spearman's correlation is over all classes, and None where all have one value.
    """

    test_set: str
    frequency: str
    classes: int
    absent: int
    spearman: float | None
    slope: float | None
    intercept: float | None
    interval: tuple[float, float] | None = None


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
    """Return the rows of a test set, and how many of its classes the training data has.

    One of ObjectNet's classes may stand for several wnids.
    """
    answers = answers_of(KNOWN[test_set]) if test_set in KNOWN else {}
    groups = [answers.get(key, (key,)) for key in per_class]
    wanted = [_class(each) for group in groups for each in group]
    places = iter(find_columns([count.class_ for count in counts], wanted).tolist())
    rows, known = [], 0
    for (key, each), group in zip(per_class.items(), groups, strict=True):
        found = [counts[place] for place in (next(places) for _ in group) if place >= 0]
        known += bool(found)
        images = sum(count.images for count in found)
        mentions = sum(count.mentions for count in found)
        accuracy = 100 * each["correct"] / each["n"]
        rows.append(ClassRow(test_set, key, _class(key).name, each["n"], accuracy, images, mentions))
    return rows, known


def _class(key: str) -> Class:
    return class_of(key) if is_wnid(key) else Class(key, key)


def _points(rows: Sequence[ClassRow], frequency: str) -> tuple[Floats, Floats]:
    counts = np.array([getattr(row, frequency) for row in rows], np.float64)
    return counts, np.array([row.accuracy for row in rows])


def _relate(test_set: str, frequency: str, rows: Sequence[ClassRow]) -> Relation:
    counts, accuracies = _points(rows, frequency)
    occurs = counts > 0
    absent, rank = int((~occurs).sum()), spearman(counts, accuracies)
    relation = Relation(test_set, frequency, len(rows), absent, rank, None, None)
    counts, accuracies = counts[occurs], accuracies[occurs]
    if len(counts) < _LEAST or counts.max() < _LEAST_SPAN * counts.min():
        return relation
    x = np.log10(counts)
    slope, intercept = np.polyfit(x, accuracies, 1)
    interval = None
    if exact_intervals_possible():
        from scipy import stats

        left = len(x) - 2
        squares = ((accuracies - intercept - slope * x) ** 2).sum()
        error = np.sqrt(squares / left / ((x - x.mean()) ** 2).sum())
        half = float(stats.t.isf(0.025, left) * error)
        interval = float(slope) - half, float(slope) + half
    return replace(relation, slope=float(slope), intercept=float(intercept), interval=interval)


def spearman(x: Floats, y: Floats) -> float | None:
    """Return Spearman's rank correlation, with mean ranks for ties; None if all of `x` or of `y` is the same.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    if not (np.ptp(x) and np.ptp(y)):
        return None
    return float(np.clip(np.corrcoef(_ranks(x), _ranks(y))[0, 1], -1, 1))


def _ranks(values: Floats) -> Floats:
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    return np.asarray((last - (counts - 1) / 2)[places], dtype=np.float64)


def frequency_csv(report: FrequencyReport) -> str:
    """Return a row for each class of each test set; accuracies are in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    counts = ("training_images", "training_mentions")
    writer.writerow(["test_set", "class", "name", "n", "accuracy", *counts])
    for row in report.rows:
        start = [row.test_set, row.key, row.name, row.n]
        writer.writerow([*start, f"{row.accuracy:.4f}", row.images, row.mentions])
    return text.getvalue()


def format_frequency(report: FrequencyReport) -> str:
    """Return the table for the terminal: a row for each test set and frequency."""
    rows = [["test set", "against", "classes", "never", "Spearman", "points per tenfold"]]
    for found in report.relations:
        rank = "-" if found.spearman is None else f"{found.spearman:+.3f}"
        against = FREQUENCIES[found.frequency]
        rows.append([found.test_set, against, f"{found.classes:,}", f"{found.absent:,}", rank, _slope(found) or "-"])
    lines = aligned(rows, left=(0, 1))
    if any("-" in row for row in rows):
        lines.append("-: no value: all classes have one frequency or accuracy, or their counts span less than twofold")
    return "\n".join(lines)


def _slope(found: Relation) -> str:
    """Return the slope with its interval, or nothing where there is none."""
    if found.slope is None:
        return ""
    if found.interval is None:
        return f"{found.slope:+.2f}"
    low, high = found.interval
    return f"{found.slope:+.2f} [{low:+.2f}, {high:+.2f}]"


def draw_frequency(report: FrequencyReport, path: Path, kind: str) -> None:
    """Draw a point for each class that occurs, and the line; a row of panels for each test set."""
    names = list(dict.fromkeys(found.test_set for found in report.relations))
    shape = len(names), len(FREQUENCIES)
    with new_figure(path, kind, shape, (4.0 * shape[1] + 0.4, 3.4 * shape[0])) as (_, all_axes):
        for axes, found in zip(all_axes, report.relations, strict=True):
            _draw_panel(axes, found, [row for row in report.rows if row.test_set == found.test_set])


def _draw_panel(axes: Axes, found: Relation, rows: Sequence[ClassRow]) -> None:
    counts, accuracies = _points(rows, found.frequency)
    occurs = counts > 0
    color = COLORS[list(FREQUENCIES).index(found.frequency)]
    opacity = 0.9 if occurs.sum() <= 100 else 0.35
    look: dict[str, Any] = {"color": color, "markersize": 4, "markeredgewidth": 0, "alpha": opacity}
    axes.plot(counts[occurs], accuracies[occurs], "o", **look)
    axes.set_xscale("log")
    if found.slope is not None and found.intercept is not None:
        ends = np.array([counts[occurs].min(), counts[occurs].max()])
        axes.plot(ends, found.intercept + found.slope * np.log10(ends), color=LINE, linewidth=1.4)
    axes.set_ylim(-3, 132)  # room for the text above 100 %
    axes.set_yticks(range(0, 101, 20))
    add_grid(axes)
    summary = f"n = {found.classes:,}"
    summary += f", of which {found.absent:,} never" if found.absent else ""
    summary += "\nSpearman " + ("undefined" if found.spearman is None else f"{found.spearman:+.2f}")
    summary += f"\n{_slope(found)} points per tenfold" if found.slope is not None else ""
    axes.annotate(summary, (0.03, 0.97), xycoords="axes fraction", va="top", size=8, color=LINE)
    axes.set_title(legend_text(found.test_set), fontweight="bold")
    axes.set_xlabel(f"{FREQUENCIES[found.frequency]} (number)")
    axes.set_ylabel("accuracy of the class (top-1, %)")
