"""Write the result of `robustness` as ER.csv and as a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from imagenet_captions.evaluation.intervals import clopper_pearson
from imagenet_captions.evaluation.robustness.baseline import EXTRAPOLATED, LEAST_IN_BIN, SPARSE, Fit
from imagenet_captions.evaluation.robustness.effective_robustness import (
    ALL,
    Mean,
    ModelRobustness,
    RobustnessReport,
    ShiftRobustness,
)
from imagenet_captions.evaluation.robustness.multi_id import MultiIdModel, MultiIdReport, MultiIdRobustness
from imagenet_captions.evaluation.robustness.multi_id_table import format_planes, multi_id_cells, multi_id_columns
from imagenet_captions.evaluation.robustness.results import Result, Results, readable
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS, Shift, accuracy_columns
from imagenet_captions.storage.files import replacing

_LONGEST_NAME = 36
_SIGNS = {SPARSE: "~", EXTRAPOLATED: "^", "": ""}
_LEGEND = {
    "*": "* against the accuracy on all 1000 classes; without it, on the shift's own classes",
    "~": f"~ sparse: the fit has fewer than {LEAST_IN_BIN} models in these 10 points of ImageNet accuracy",
    "^": "^ extrapolated: the fit has no model of so low or so high an ImageNet accuracy",
}


def write_robustness(
    path: Path,
    results: Results,
    report: RobustnessReport,
    exact_intervals: bool = True,
    multi: MultiIdReport | None = None,
) -> None:
    """Write ER.csv: the given results, then effective robustness in percentage points with its intervals.

    `exact_intervals` adds the exact interval of every accuracy, in the unit of the results; it needs scipy. `multi`
    adds what was measured with several ID sets.
    """
    rows = [
        {
            **model.result.cells,
            **(_accuracy_intervals(model.result, results.units) if exact_intervals else {}),
            **_robustness_cells(model),
            "baseline": report.baseline.name,
        }
        for model in report.models
    ]
    columns = _columns(results, exact_intervals)
    if multi is not None:
        rows = [row | multi_id_cells(model, multi) for row, model in zip(rows, multi.models, strict=True)]
        columns += multi_id_columns(multi)
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8")


def _columns(results: Results, exact_intervals: bool) -> list[str]:
    accuracies = [column for column in (*accuracy_columns(), *results.own) if column in results.columns]
    columns = list(results.columns)
    if exact_intervals:
        columns += [f"{column}_{end}" for column in accuracies for end in ("low", "high")]
    for shift in SHIFTS:
        if shift.column in accuracies:
            columns += _with_interval(f"{shift.column}_effective_robustness")
            columns += [f"{shift.column}_predicted"]
            columns += [f"{shift.column}_compared_on"] if shift.same_classes else []
            columns += [f"{shift.column}_mark"]
    mean = [*_with_interval("mean_effective_robustness"), "mean_compared_on", "mean_mark", "mean_note"]
    return [*columns, *mean, "baseline"]


def _with_interval(name: str) -> list[str]:
    return [name, f"{name}_low", f"{name}_high"]


def _robustness_cells(model: ModelRobustness) -> dict[str, str]:
    cells: dict[str, str] = {}
    for column, found in model.shifts.items():
        cells |= _value_cells(f"{column}_effective_robustness", found.value, found.interval)
        cells |= {f"{column}_predicted": f"{found.predicted:.4f}", f"{column}_mark": found.mark}
        if found.compared_on:
            cells[f"{column}_compared_on"] = found.compared_on
    if model.mean is None:
        return {**cells, "mean_note": f"no mean, {model.no_mean}"}
    cells |= _value_cells("mean_effective_robustness", model.mean.value, model.mean.interval)
    return {**cells, "mean_compared_on": model.mean.compared_on, "mean_mark": model.mean.mark}


def _value_cells(name: str, value: float, interval: tuple[float, float]) -> dict[str, str]:
    return {column: f"{number:.4f}" for column, number in zip(_with_interval(name), (value, *interval), strict=True)}


def _accuracy_intervals(result: Result, units: str) -> dict[str, str]:
    cells = {}
    for column, percent in result.accuracies.items():
        images = result.size(column)
        if images is None:
            continue
        ends = clopper_pearson(percent, images)
        for end, value in zip(("low", "high"), ends, strict=True):
            cells[f"{column}_{end}"] = f"{value:.4f}" if units == "percent" else f"{value / 100:.6f}"
    return cells


def format_robustness(report: RobustnessReport, multi: MultiIdReport | None = None) -> str:
    """Return the table for the terminal: points above the baseline, a column for each shift, then the fits.

    With `multi`, a second row of each model has the points above the baseline of several ID sets.
    """
    shifts = [shift for shift in SHIFTS if any(shift.column in model.shifts for model in report.models)]
    names = (shift.label.removeprefix("ImageNet").lstrip("-") for shift in shifts)
    rows = [_row(model, shifts, report.baseline.name) for model in report.models]
    if multi is not None:
        others = [_row(model, shifts, multi.name) for model in multi.models]
        rows = [row for pair in zip(rows, others, strict=True) for row in pair]
    cells = "".join(cell for row in rows for cell in row[2:-1])
    table = _align([["model", "ImageNet", *names, "mean", "baseline"], *rows])
    legend = [text for sign, text in _LEGEND.items() if sign in cells]
    mean = "mean: over ImageNetV2, ImageNet-R, ImageNet-Sketch and ObjectNet, where R and ObjectNet are compared alike"
    fits = [*_format_fits(report), *(format_planes(multi) if multi is not None else ())]
    return "\n".join(["Effective robustness in percentage points", *table, "", *legend, mean, *fits])


def _row(model: ModelRobustness | MultiIdModel, shifts: Sequence[Shift], baseline: str) -> list[str]:
    return [
        readable(model.result.model, _LONGEST_NAME),
        _percent(model.result.accuracies.get(IMAGENET)),
        *(_points(model.shifts.get(shift.column)) for shift in shifts),
        _points(model.mean),
        readable(baseline, _LONGEST_NAME),
    ]


def _format_fits(report: RobustnessReport) -> Iterable[str]:
    yield f"baseline {readable(report.baseline.name)}: {readable(report.baseline.over, 100)}"
    for fit in report.fits:
        yield (
            f"  {fit.shift.column} from {fit.x_column}: {_format_shape(fit)}, r {fit.shape.r:.4f}, n {fit.n}, "
            f"from {fit.lowest:.1f} to {fit.highest:.1f} %"
        )


def _format_shape(fit: Fit) -> str:
    if fit.local:
        return "local curve"
    return f"slope {fit.shape.slope:.4f}, intercept {fit.shape.intercept:.4f}"


def _points(found: ShiftRobustness | MultiIdRobustness | Mean | None) -> str:
    if found is None:
        return "-"
    return f"{found.value:+.2f}{'*' if found.compared_on == ALL else ''}{_SIGNS[found.mark]}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _align(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield "  ".join(cells)
