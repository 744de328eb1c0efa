"""Per-class accuracy against how often a class is in the training data: Spearman's correlation and a slope.

As in Udandarao et al. 2024 (arXiv 2404.04125) and Wen et al. 2024 (arXiv 2405.21070).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from imagenet_captions.errors import InputError, aligned
from imagenet_captions.evaluation.classifiers import find_columns
from imagenet_captions.evaluation.drawing import COLORS, LINE, add_grid, legend_text, new_figure
from imagenet_captions.evaluation.intervals import Floats
from imagenet_captions.evaluation.known_sets import KNOWN, answers_of
from imagenet_captions.evaluation.results import RunSettings
from imagenet_captions.evaluation.robustness.tables import SHIFTS
from imagenet_captions.images.examples import ClassCount, class_of
from imagenet_captions.storage.files import csv_text, read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FREQUENCIES = {"images": "training images of the class", "mentions": "training captions that name the class"}
_LEAST = 3  # classes for a correlation, and for a slope
_LEAST_SPAN = 2.0  # of the largest count over the smallest, for a slope


@dataclass(frozen=True)
class TrainedOn:
    """The data that a model was trained on; `settings` is the file of a run that says so."""

    data: Path
    ids: Path | None = None
    caption: str | None = None
    seed: int = 0
    settings: Path | None = None


def read_trained_on(place: Path) -> TrainedOn:
    """Return the data that a run's settings name; raises InputError for a place that is not a run."""
    path = (place if place.is_dir() else place.parent) / "settings.json"
    run = read_json(path, RunSettings, "without `data`, the run's settings")

    def find(name: str) -> Path:
        """Return a path as seen from the folder in which the run was started, or from here if that has moved."""
        here, there = Path(name), Path(run.started_in) / name
        return here if here.exists() and not there.exists() else there

    ids = None if run.ids is None else find(run.ids.file)
    return TrainedOn(find(run.data), ids, run.recipe.caption, run.seed, path)


class ClassRow(NamedTuple):
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
    (Student's t); `absent` counts the others. It is None for fewer than three classes, or counts
    that span less than a factor of two. Spearman's correlation is over all classes, and None where all have one value.
    """

    test_set: str
    frequency: str
    classes: int
    absent: int
    spearman: float | None
    slope: float | None = None
    intercept: float = 0.0
    interval: tuple[float, float] = (0.0, 0.0)

    def format_slope(self) -> str:
        """Return the slope with its interval, or nothing where there is none."""
        low, high = self.interval
        return "" if self.slope is None else f"{self.slope:+.2f} [{low:+.2f}, {high:+.2f}]"


class FrequencyReport(NamedTuple):
    """The rows and relations of every test set, and why others were left out."""

    rows: list[ClassRow]
    relations: list[Relation]
    left_out: list[str]


def measure_frequency(metrics: Mapping[str, Any], counts: Sequence[ClassCount]) -> FrequencyReport:
    """Relate the per-class accuracies of metrics.json to the counts of the training data's classes.

    Classes are matched by key, or else by name; one that the training data does not have occurs never. Raises
    InputError if no test set has enough classes of the training data.
    """
    report = FrequencyReport([], [], [])
    for name, entry in metrics["test_sets"].items():
        if name in {shift.same_classes for shift in SHIFTS}:
            continue
        per_class = entry.get("per_class", {})
        answers = answers_of(KNOWN[name]) if name in KNOWN else {}
        keys = {answer: answers.get(answer, (answer,)) for answer in per_class}  # ObjectNet's may be several
        wanted = [key for group in keys.values() for key in group]
        places = find_columns([count.class_ for count in counts], [class_of(key) for key in wanted])
        counted = {key: counts[place] for key, place in zip(wanted, places, strict=True) if place >= 0}
        found, known = [], 0
        for answer, each in per_class.items():
            seen = [counted[key] for key in keys[answer] if key in counted]
            known += bool(seen)
            sums = sum(count.images for count in seen), sum(count.mentions for count in seen)
            accuracy = 100 * each["correct"] / each["n"]
            found.append(ClassRow(name, answer, class_of(answer).name, each["n"], accuracy, *sums))
        if known < _LEAST:
            reason = f"{known} of its classes are in the training data, and a correlation takes {_LEAST}"
            report.left_out.append(f"{name}: {reason}")
        else:
            report.rows.extend(found)
            report.relations.extend(_relate(name, frequency, found) for frequency in FREQUENCIES)
    if not report.relations:
        reasons = "; ".join(report.left_out)
        raise InputError(f"nothing can be related ({reasons}); give the `data` that the model was trained on")
    return report


def _points(rows: Sequence[ClassRow], frequency: str) -> tuple[Floats, Floats]:
    counts = np.array([getattr(row, frequency) for row in rows], np.float64)
    return counts, np.array([row.accuracy for row in rows])


def _relate(test_set: str, frequency: str, rows: Sequence[ClassRow]) -> Relation:
    from scipy import stats

    counts, accuracies = _points(rows, frequency)
    occurs, spearman = counts > 0, None
    if np.ptp(counts) and np.ptp(accuracies):
        spearman = float(stats.spearmanr(counts, accuracies).statistic)
    relation = Relation(test_set, frequency, len(rows), int((~occurs).sum()), spearman)
    counts, accuracies = counts[occurs], accuracies[occurs]
    if len(counts) < _LEAST or counts.max() < _LEAST_SPAN * counts.min():
        return relation
    line = stats.linregress(np.log10(counts), accuracies)
    half = float(stats.t.isf(0.025, len(counts) - 2) * line.stderr)
    slope, intercept = float(line.slope), float(line.intercept)
    interval = slope - half, slope + half
    return replace(relation, slope=slope, intercept=intercept, interval=interval)


def frequency_csv(report: FrequencyReport) -> str:
    """Return a row for each class of each test set; accuracies are in percent."""
    header = "test_set class name n accuracy training_images training_mentions".split()
    return csv_text([header, *([*row[:4], f"{row.accuracy:.4f}", *row[5:]] for row in report.rows)])


def format_frequency(report: FrequencyReport) -> str:
    """Return the table for the terminal: a row for each test set and frequency."""
    rows = [["test set", "against", "classes", "never", "Spearman", "points per tenfold"]]
    for found in report.relations:
        rank = "-" if found.spearman is None else f"{found.spearman:+.3f}"
        start = found.test_set, FREQUENCIES[found.frequency], f"{found.classes:,}", f"{found.absent:,}"
        rows.append([*start, rank, found.format_slope() or "-"])
    lines = aligned(rows, left=(0, 1))
    if any("-" in row for row in rows):
        lines.append("-: no value: all classes have one frequency or accuracy, or their counts span less than twofold")
    return "\n".join(lines)


def draw_frequency(report: FrequencyReport, path: Path, kind: str) -> None:
    """Draw a point for each class that occurs, and the line; a row of panels for each test set."""
    shape = len(report.relations) // len(FREQUENCIES), len(FREQUENCIES)
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
    summary = f"n = {found.classes:,}" + (f", of which {found.absent:,} never" if found.absent else "")
    summary += "\nSpearman " + ("undefined" if found.spearman is None else f"{found.spearman:+.2f}")
    if found.slope is not None:
        ends = np.array([counts[occurs].min(), counts[occurs].max()])
        axes.plot(ends, found.intercept + found.slope * np.log10(ends), color=LINE, linewidth=1.4)
        summary += f"\n{found.format_slope()} points per tenfold"
    axes.set_ylim(-3, 132)  # room for the text above 100 %
    axes.set_yticks(range(0, 101, 20))
    add_grid(axes)
    axes.annotate(summary, (0.03, 0.97), xycoords="axes fraction", va="top", size=8, color=LINE)
    axes.set_title(legend_text(found.test_set), fontweight="bold")
    axes.set_xlabel(f"{FREQUENCIES[found.frequency]} (number)")
    axes.set_ylabel("accuracy of the class (top-1, %)")
