"""The result of `robustness` as ER.csv, as a table for the terminal, and as a figure."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from imagenet_captions.evaluation.intervals import clopper_pearson, exact_intervals_possible
from imagenet_captions.evaluation.robustness.fits import EXTRAPOLATED, LEAST_IN_BIN, SPARSE, Fit, Plane, own_baseline
from imagenet_captions.evaluation.robustness.measure import (
    ALL,
    Mean,
    ModelRobustness,
    MultiIdModel,
    MultiIdReport,
    MultiIdRobustness,
    RobustnessReport,
    ShiftRobustness,
    check_has_columns,
    check_id_sets,
    measure_multi_id,
    measure_robustness,
    write_notes,
)
from imagenet_captions.evaluation.robustness.tables import (
    IMAGENET,
    SHIFTS,
    Result,
    Results,
    Shift,
    accuracy_columns,
    read_published,
    read_results,
    readable,
)
from imagenet_captions.evaluation.settings import RobustnessSettings
from imagenet_captions.storage.faults import how_to_install
from imagenet_captions.storage.files import replacing
from imagenet_captions.storage.outputs import producing

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


_VALUE = ("_effective_robustness", "_effective_robustness_low", "_effective_robustness_high")
_MEAN = tuple(f"mean_multi_id{ending}" for ending in (*_VALUE, "_compared_on", "_mark"))


def multi_id_columns(report: MultiIdReport) -> list[str]:
    """Return the columns of ER.csv: for each shift, for the mean, and the ID sets."""
    return [*(name for fit in report.fits for name in _multi_id_columns_of(fit)), *_MEAN, "multi_id_sets"]


def multi_id_cells(model: MultiIdModel, report: MultiIdReport) -> dict[str, str]:
    """Return a model's cells of these columns; R² and MAE are the fit's, the same in every row."""
    cells = {"multi_id_sets": report.name}
    for fit, single in zip(report.fits, report.single, strict=True):
        found = model.shifts.get(fit.shift.column)
        if found is not None:
            values = map(_number, (found.value, *found.interval, found.predicted))
            quality = map(_number, (fit.r2, fit.mae, single.r2, single.mae))
            cells |= zip(
                _multi_id_columns_of(fit), (*values, found.compared_on or "", found.mark, *quality), strict=True
            )
    if model.mean is not None:
        values = map(_number, (model.mean.value, *model.mean.interval))
        cells |= zip(_MEAN, (*values, model.mean.compared_on, model.mean.mark), strict=True)
    return cells


def _multi_id_columns_of(fit: Plane) -> list[str]:
    endings = (*_VALUE, "_predicted", "_compared_on", "_mark", "_r2", "_mae")
    single = (f"{fit.shift.column}_single_id{ending}" for ending in ("_r2", "_mae"))
    return [*(f"{fit.shift.column}_multi_id{ending}" for ending in endings), *single]


def format_planes(report: MultiIdReport) -> Iterable[str]:
    """Yield the lines about the fits: each beside the fit of the same models on the first ID set alone."""
    yield f"baseline {report.name}: linear in logit space over the models of {report.over} (Shi et al. 2023)"
    for fit, single in zip(report.fits, report.single, strict=True):
        yield f"  {fit.shift.column} from {', '.join(fit.columns)}: {_shape(fit)}, {format_quality(fit)}"
        yield f"  {fit.shift.column} from {single.columns[0]} alone, the same models: {format_quality(single)}"
    yield "R² is of the logits, the mean absolute error (MAE) of the accuracies"


def format_quality(fit: Plane) -> str:
    """Return how well a fit describes its models."""
    return f"n {fit.n}, R² {fit.r2:.4f}, MAE {fit.mae:.2f} points"


def _shape(fit: Plane) -> str:
    intercept, *slopes = (f"{value:.4f}" for value in fit.coefficients)
    return f"slopes {_listed(slopes)}, intercept {intercept}"


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]])


def _number(value: float) -> str:
    return f"{value:.4f}"


log = logging.getLogger(__name__)


def measure_results(settings: RobustnessSettings, overwrite: bool = False) -> str:
    """Return the effective robustness of a table's models as text; the files that are asked for are written."""
    ids = check_id_sets(settings.id_sets) if settings.id_sets else ()
    table = read_published() if settings.shipped else read_results(settings.results, settings.units, ids)
    if settings.plot is not None:
        from imagenet_captions.evaluation.robustness.figure import check_figure_path, draw_robustness

        check_figure_path(settings.plot, "plot")
    if settings.units is None and not settings.shipped:
        log.info("the accuracies are taken as %s", "percent" if table.units == "percent" else "fractions")
    for name in table.own:
        if not any(name.startswith(each) for each in ids):
            log.info("%s is not among the shifts, and only `id_sets` reads it", name)
    inputs = [None if settings.shipped else settings.results, settings.baseline_from]
    with producing(settings.outputs(), inputs, overwrite) as partials:
        named = (table, settings.results.name)
        own = settings.baseline_from
        source = None if own is None else (read_results(own, own=ids), own.name)
        multi = None
        if ids:
            for each in (named, source or named):
                check_has_columns(*each, ids)
            models, over = source or named
            multi = measure_multi_id(table.rows, ids, models.rows, over, settings.all_classes)
        baseline = own_baseline(*source) if source else settings.baseline or "auto"
        report = measure_robustness(table.rows, baseline, settings.all_classes)
        for note in (*write_notes(report), *(multi.unfit if multi else ())):
            log.warning("note: %s", note)
        if settings.out is not None:
            possible = exact_intervals_possible()
            if not possible:
                how = how_to_install("report")
                log.warning("note: scipy is not installed, so %s has no intervals; %s", settings.out, how)
            write_robustness(partials[0], table, report, possible, multi)
        if settings.plot is not None:
            others = () if settings.shipped or not settings.with_published else read_published().rows
            draw_robustness(report, partials[-1], others, settings.plot.suffix, multi)
    return format_robustness(report, multi)
