"""What `robustness` found, as ER.csv and as a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from imagenet_captions.evaluation.intervals import clopper_pearson
from imagenet_captions.evaluation.results import Result, Results, readable
from imagenet_captions.evaluation.robustness import ModelRobustness, Report, ShiftRobustness
from imagenet_captions.evaluation.shifts import IMAGENET, SHIFTS, accuracy_columns, images_of
from imagenet_captions.files import replacing

_LONGEST_NAME = 36


def write_robustness(path: Path, results: Results, report: Report, exact_intervals: bool = True) -> None:
    """Write ER.csv: the results as they came, then effective robustness in percentage points, with its intervals.

    `exact_intervals` adds the exact interval of every accuracy, in the unit of the results; it needs scipy.
    """
    rows = [
        {
            **model.result.cells,
            **(_accuracy_intervals(model.result, results.units) if exact_intervals else {}),
            **_robustness_cells(model),
            "baseline": report.baseline,
        }
        for model in report.models
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(results, exact_intervals), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def _columns(results: Results, exact_intervals: bool) -> list[str]:
    accuracies = [column for column in accuracy_columns() if column in results.columns]
    columns = list(results.columns)
    if exact_intervals:
        columns += [f"{column}_{end}" for column in accuracies for end in ("low", "high")]
    for shift in SHIFTS:
        if shift.column in accuracies:
            columns += _with_interval(f"{shift.column}_effective_robustness")
            columns += [f"{shift.column}_predicted"]
            columns += [f"{shift.column}_compared_on"] if shift.same_classes else []
    return [*columns, *_with_interval("mean_effective_robustness"), "baseline"]


def _with_interval(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _robustness_cells(model: ModelRobustness) -> dict[str, str]:
    cells: dict[str, str] = {}
    for column, found in model.shifts.items():
        cells |= _value_cells(f"{column}_effective_robustness", found.value, found.interval)
        cells[f"{column}_predicted"] = f"{found.predicted:.4f}"
        if found.fit.shift.same_classes:
            cells[f"{column}_compared_on"] = "same classes" if found.fit.same_classes else "all classes"
    if model.mean is not None and model.mean_interval is not None:
        cells |= _value_cells("mean_effective_robustness", model.mean, model.mean_interval)
    return cells


def _value_cells(name: str, value: float, interval: tuple[float, float]) -> dict[str, str]:
    return {column: f"{number:.4f}" for column, number in zip(_with_interval(name), (value, *interval), strict=True)}


def _accuracy_intervals(result: Result, units: str) -> dict[str, str]:
    cells = {}
    for column, percent in result.accuracies.items():
        ends = clopper_pearson(percent, result.images.get(column, images_of(column)))
        for end, value in zip(("low", "high"), ends, strict=True):
            cells[f"{column}_{end}"] = f"{value:.4f}" if units == "percent" else f"{value / 100:.6f}"
    return cells


def format_robustness(report: Report) -> str:
    """The table for the terminal: percentage points above the line, a column a shift, then the lines themselves."""
    shifts = [shift for shift in SHIFTS if any(shift.column in model.shifts for model in report.models)]
    header = ["model", "ImageNet", *(shift.label.removeprefix("ImageNet").lstrip("-") for shift in shifts), "mean"]
    rows = [
        [
            readable(model.result.model, _LONGEST_NAME),
            _percent(model.result.accuracies.get(IMAGENET)),
            *(_points(model.shifts.get(shift.column)) for shift in shifts),
            "-" if model.mean is None else f"{model.mean:+.2f}",
        ]
        for model in report.models
    ]
    starred = any(cell.endswith("*") for row in rows for cell in row)
    lines = ["Effective robustness in percentage points", *_align([header, *rows]), ""]
    if starred:
        lines += ["* against the accuracy on all 1000 classes; without it, on the shift's own classes"]
    lines += ["mean: over ImageNetV2, ImageNet-R, ImageNet-Sketch and ObjectNet"]
    return "\n".join([*lines, *_format_fits(report)])


def _format_fits(report: Report) -> Iterable[str]:
    over = (
        "standard ImageNet models of at least 55 %"
        if report.baseline == "standard"
        else "standard and low-accuracy ImageNet models, down to 0 %"
    )
    yield f"baseline {report.baseline}: lines in logit space over {over}"
    for fit in report.fits:
        yield (
            f"  {fit.shift.column} from {fit.x_column}: slope {fit.slope:.4f}, intercept {fit.intercept:.4f}, "
            f"r {fit.r:.4f}, n {fit.n}, from {fit.lowest:.1f} to {fit.highest:.1f} %"
        )


def _points(found: ShiftRobustness | None) -> str:
    if found is None:
        return "-"
    other_classes = found.fit.shift.same_classes is not None and not found.fit.same_classes
    return f"{found.value:+.2f}{'*' if other_classes else ''}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _align(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield "  ".join(cells)
