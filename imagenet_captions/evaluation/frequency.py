"""Per-class accuracy against how often a class is in the training data: Spearman's correlation and a slope.

As in "No zero-shot without exponential data" (Udandarao et al. 2024, arXiv 2404.04125) and "What makes CLIP more robust
to long-tailed pre-training data?" (Wen et al. 2024, arXiv 2405.21070)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.classifiers import find_columns
from imagenet_captions.evaluation.intervals import Floats
from imagenet_captions.evaluation.known_sets import KNOWN, answers_of
from imagenet_captions.evaluation.robustness.figure import STYLE, legend_text, save_figure
from imagenet_captions.evaluation.robustness.tables import SHIFTS
from imagenet_captions.imagenet.image_ids import is_wnid
from imagenet_captions.images.examples import Class, ClassCount, class_of
from imagenet_captions.storage.files import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


_SETTINGS = "settings.json"


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
    path = (place if place.is_dir() else place.parent) / _SETTINGS
    if not path.is_file():
        raise InputError(f"{path} is not there, so the training data of {place} is unknown; give it as `data`")
    run = read_json(path, _Run, "the run's settings")
    start = Path(run.started_in)
    ids = None if run.ids is None else _found(start, run.ids.file)
    return TrainedOn(_found(start, run.data), ids, run.recipe.caption, run.seed, path)


def _found(start: Path, name: str) -> Path:
    """Return a path of a run as seen from the folder in which it was started, or from here if that has moved."""
    here, there = Path(name), start / name
    return here if here.exists() and not there.exists() else there


def frequency_csv(report: FrequencyReport) -> str:
    """Return a row for each class of each test set; accuracies are in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test_set", "class", "name", "n", "accuracy", "training_images", "training_mentions"])
    for row in report.rows:
        accuracy = f"{row.accuracy:.4f}"
        writer.writerow([row.test_set, row.key, row.name, row.n, accuracy, row.images, row.mentions])
    return text.getvalue()


def format_frequency(report: FrequencyReport) -> str:
    """Return the table for the terminal: a row for each test set and frequency."""
    head = ["test set", "against", "classes", "never", "Spearman", "points per tenfold"]
    rows = [head, *map(_cells, report.relations)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    if any(found.spearman is None or found.slope is None for found in report.relations):
        lines.append("-: no value, since these classes all have the same frequency, or the same accuracy")
    return "\n".join(lines)


def _cells(found: Relation) -> list[str]:
    values = [
        "-" if value is None else f"{value:+.{digits}f}" for value, digits in ((found.spearman, 3), (found.slope, 2))
    ]
    return [found.test_set, FREQUENCIES[found.frequency], f"{found.classes:,}", f"{found.absent:,}", *values]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    def cells() -> Iterator[str]:
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            yield cell.ljust(width) if place < 2 else cell.rjust(width)

    return "  ".join(cells()).rstrip()


_COLORS = {True: "#0072B2", False: "#D55E00"}  # Okabe and Ito's; of images, and of mentions
_LINE = "#444444"


def draw_frequency(report: FrequencyReport, path: Path, kind: str) -> None:
    """Draw a point for each class that occurs, and the line; the same input gives the same bytes."""
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = list(dict.fromkeys(found.test_set for found in report.relations))
    with matplotlib.style.context(["default", STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(4.0 * len(FREQUENCIES) + 0.4, 3.4 * len(names)), layout=layout)
        all_axes = figure.subplots(len(names), len(FREQUENCIES), squeeze=False)
        for axes, found in zip(all_axes.flat, report.relations, strict=True):
            _draw_panel(axes, found, [row for row in report.rows if row.test_set == found.test_set])
        save_figure(figure, path, kind)


def _draw_panel(axes: Axes, found: Relation, rows: Sequence[ClassRow]) -> None:
    counts = np.array([getattr(row, found.frequency) for row in rows], np.float64)
    accuracies = np.array([row.accuracy for row in rows])
    occurs = counts > 0
    color = _COLORS[found.frequency == IMAGES]
    opacity = 0.9 if occurs.sum() <= 100 else 0.35
    axes.plot(counts[occurs], accuracies[occurs], "o", color=color, markersize=4, markeredgewidth=0, alpha=opacity)
    axes.set_xscale("log")
    if found.slope is not None and found.intercept is not None:
        ends = np.array([counts[occurs].min(), counts[occurs].max()])
        axes.plot(ends, found.intercept + found.slope * np.log10(ends), color=_LINE, linewidth=1.4)
    axes.set_ylim(-3, 125)  # room for the text above 100 %
    axes.set_yticks(range(0, 101, 20))
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.annotate(_summary(found), (0.03, 0.97), xycoords="axes fraction", va="top", size=8, color=_LINE)
    axes.set_title(legend_text(found.test_set), fontweight="bold")
    axes.set_xlabel(f"{FREQUENCIES[found.frequency]} (number)")
    axes.set_ylabel("accuracy of the class (top-1, %)")


def _summary(found: Relation) -> str:
    classes = f"n = {found.classes:,}" + (f", of which {found.absent:,} never" if found.absent else "")
    parts = ["Spearman undefined" if found.spearman is None else f"Spearman {found.spearman:+.2f}"]
    parts += [] if found.slope is None else [f"{found.slope:+.1f} points per tenfold"]
    return "\n".join(filter(None, [classes, ", ".join(parts)]))
