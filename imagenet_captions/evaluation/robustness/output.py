"""The command `robustness`: a table of accuracies to ER.csv, a table for the terminal, and a figure."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagenet_captions.errors import aligned, shortened
from imagenet_captions.evaluation.drawing import check_figure_path
from imagenet_captions.evaluation.intervals import clopper_pearson, exact_intervals_possible
from imagenet_captions.evaluation.robustness.figure import draw_robustness
from imagenet_captions.evaluation.robustness.fits import EXTRAPOLATED, LEAST_NEAR, SPARSE, Fit, own_baseline
from imagenet_captions.evaluation.robustness.measure import (
    ALL,
    LONGEST_NAME,
    Mean,
    ModelRobustness,
    RobustnessReport,
    ShiftRobustness,
    check_id_sets,
    measure_multi_id,
    measure_robustness,
    write_notes,
)
from imagenet_captions.evaluation.robustness.tables import (
    IMAGENET,
    IMAGES,
    SHIFTS,
    Result,
    Results,
    Shift,
    read_published,
    read_results,
)
from imagenet_captions.evaluation.settings import RobustnessSettings
from imagenet_captions.storage.faults import how_to_install
from imagenet_captions.storage.files import write_text
from imagenet_captions.storage.outputs import producing

log = logging.getLogger(__name__)

_LONGEST_CELL = 36
_SIGNS = {SPARSE: "~", EXTRAPOLATED: "^", "": ""}
_LEGEND = {
    " p": "p: the percentage of ordinary trainings of about that accuracy that lie lower above the curve",
    "*": "* against the accuracy on all 1000 classes; without it, on the shift's own classes",
    "~": f"~ sparse: the curve has fewer than {LEAST_NEAR} trainings within reach, so its interval is not one at 95 %",
    "^": "^ extrapolated: the fit has no model of so low or so high an ImageNet accuracy",
}


def measure_results(settings: RobustnessSettings, overwrite: bool = False) -> str:
    """Return the effective robustness of a table's models as text; the files that are asked for are written."""
    ids = check_id_sets(settings.id_sets) if settings.id_sets else ()
    results = None if settings.shipped else settings.results
    table = read_published() if results is None else read_results(results, settings.units, ids)
    if settings.plot is not None:
        check_figure_path(settings.plot, "plot")
    if settings.units is None and results is not None:
        units = "percent" if table.units == "percent" else "fractions"
        log.info("the accuracies are taken as %s", units)
    for name in table.own:
        if not any(name.startswith(each) for each in ids):
            log.info("%s is not among the shifts, and only `id_sets` reads it", name)
    own = settings.baseline_from
    with producing(settings.outputs(), [results, own], overwrite) as partials:
        named = (table, settings.results.name)
        source = named if own is None else (read_results(own, own=ids), own.name)
        multi = None
        if ids:
            check_id_sets(ids, named, source)
            models, over = source[0].rows, source[1]
            multi = measure_multi_id(table.rows, ids, models, over, settings.all_classes)
        baseline = settings.baseline or "auto" if own is None else own_baseline(*source)
        report = measure_robustness(table.rows, baseline, settings.all_classes)
        for note in (*write_notes(report), *(multi.unfit if multi else ())):
            log.warning("note: %s", note)
        if settings.out is not None:
            if not exact_intervals_possible():
                how = how_to_install("report")
                log.warning("note: scipy is not installed, so %s has no intervals; %s", settings.out, how)
            write_robustness(partials[0], table, report, multi)
        if settings.plot is not None:
            beside = results is not None and settings.with_published
            others = read_published().rows if beside else ()
            draw_robustness(report, partials[-1], others, settings.plot.suffix, multi)
    return format_robustness(report, multi)


def write_robustness(
    path: Path, results: Results, report: RobustnessReport, multi: RobustnessReport | None = None
) -> None:
    """Write ER.csv: the given results, then effective robustness in percentage points with its intervals.

    Every accuracy has its exact interval, in the unit of the results, if scipy is installed. `multi` adds what was
    measured with several ID sets.
    """
    rows = []
    for number, model in enumerate(report.models):
        row = dict(model.result.cells)
        if exact_intervals_possible():
            for column in (*IMAGES, *results.own):
                if column in results.columns:
                    row |= _accuracy_interval(model.result, column, results.units)
        for shift in SHIFTS:
            if shift.column in results.columns:
                found = model.shifts.get(shift.column)
                row |= _cells(shift.column, shift.same_classes is not None, found)
        row |= _cells("mean", True, model.mean)
        row["mean_note"] = f"no mean, {model.no_mean}" if model.no_mean else ""
        row["baseline"] = report.baseline.name
        if multi is not None:
            row |= _multi_id_cells(multi, multi.models[number])
        rows.append(row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def _accuracy_interval(result: Result, column: str, units: str) -> dict[str, str]:
    cells = {f"{column}_low": "", f"{column}_high": ""}
    percent, images = result.accuracies.get(column), result.size(column)
    if percent is not None and images is not None:
        for name, end in zip(cells, clopper_pearson(percent, images), strict=True):
            cells[name] = f"{end:.4f}" if units == "percent" else f"{end / 100:.6f}"
    return cells


def _cells(name: str, some_classes: bool, found: ShiftRobustness | Mean | None) -> dict[str, str]:
    """Return the cells of a value, empty ones if there is none."""
    value = f"{name}_effective_robustness"
    cells = {value: "", f"{value}_low": "", f"{value}_high": ""}
    if not name.startswith("mean"):
        names = [f"{name}_ordinary_{end}" for end in ("deviation", "below", "trainings")]
        cells |= dict.fromkeys([f"{name}_predicted", *names], "")
    if some_classes:
        cells[f"{name}_compared_on"] = ""
    cells[f"{name}_mark"] = ""
    if found is not None:
        numbers = [found.value, *found.interval]
        if isinstance(found, ShiftRobustness):
            numbers.append(found.predicted)
            ordinary = (found.deviation, found.below, found.trainings) if found.fit.local else ()
            for end, number in zip(("deviation", "below", "trainings"), ordinary, strict=False):
                cells[f"{name}_ordinary_{end}"] = "" if number is None else f"{number:.4g}"
        cells |= zip(cells, (f"{number:.4f}" for number in numbers), strict=False)
        if some_classes:
            cells[f"{name}_compared_on"] = found.compared_on or ""
        cells[f"{name}_mark"] = found.mark
    return cells


def _multi_id_cells(multi: RobustnessReport, model: ModelRobustness) -> dict[str, str]:
    """Return the cells that several ID sets add; R² and MAE are the fit's, the same in every row with a value."""
    cells: dict[str, str] = {}
    for fit, single in zip(multi.fits, multi.single, strict=True):
        column = fit.shift.column
        found = model.shifts.get(column)
        cells |= _cells(f"{column}_multi_id", True, found)
        for name, each in (("multi_id", fit), ("single_id", single)):
            _, r2, error = each.quality
            cells[f"{column}_{name}_r2"] = f"{r2:.4f}" if found else ""
            cells[f"{column}_{name}_mae"] = f"{error:.4f}" if found else ""
    cells |= _cells("mean_multi_id", True, model.mean)
    return cells | {"multi_id_sets": multi.baseline.name}


def format_robustness(report: RobustnessReport, multi: RobustnessReport | None = None) -> str:
    """Return the table for the terminal: points above the baseline, a column for each shift, then the fits.

    With `multi`, a second row of each model has the points above the baseline of several ID sets.
    """
    shifts = [shift for shift in SHIFTS if any(shift.column in model.shifts for model in report.models)]
    names = (shift.label.removeprefix("ImageNet").lstrip("-") for shift in shifts)
    rows = []
    for number, model in enumerate(report.models):
        rows.append(_row(model, shifts, report.baseline.name))
        if multi is not None:
            rows.append(_row(multi.models[number], shifts, multi.baseline.name))
    cells = "".join(cell for row in rows for cell in row[2:-1])
    lines = ["Effective robustness in percentage points"]
    lines += aligned([["model", "ImageNet", *names, "mean", "baseline"], *rows])
    lines += ["", *(text for sign, text in _LEGEND.items() if sign in cells)]
    lines.append(
        "mean: over ImageNetV2, ImageNet-R, ImageNet-Sketch and ObjectNet, where R and ObjectNet are compared alike"
    )
    lines += _format_fits(report)
    return "\n".join([*lines, *(_format_fits(multi) if multi is not None else ())])


def _row(model: ModelRobustness, shifts: Sequence[Shift], baseline: str) -> list[str]:
    imagenet = model.result.accuracies.get(IMAGENET)
    return [
        shortened(model.result.model, _LONGEST_CELL),
        "-" if imagenet is None else f"{imagenet:.1f} %",
        *(_points(model.shifts.get(shift.column)) for shift in shifts),
        _points(model.mean),
        shortened(baseline, _LONGEST_CELL),
    ]


def _points(found: ShiftRobustness | Mean | None) -> str:
    if found is None:
        return "-"
    cell = f"{found.value:+.2f}{'*' if found.compared_on == ALL else ''}{_SIGNS[found.mark]}"
    if isinstance(found, Mean) or found.mark or found.below is None:
        return cell
    return f"{cell} p{found.below:.0f}"


def _format_fits(report: RobustnessReport) -> Iterator[str]:
    name, over = shortened(report.baseline.name, LONGEST_NAME), shortened(report.baseline.over, 100)
    yield f"baseline {name}: {over}"
    if not report.single:
        for fit in report.fits:
            (low,), (high,) = fit.ranges
            quality = f"r {fit.quality[0]:.4f}, n {fit.size}, from {low:.1f} to {high:.1f} %"
            yield f"  {fit.shift.column} from {fit.x_column}: {_format_shape(fit)}, {quality}"
        return
    for fit, single in zip(report.fits, report.single, strict=True):
        start = f"  {fit.shift.column} from"
        yield f"{start} {', '.join(fit.columns)}: {_format_shape(fit)}, {fit.describe()}"
        yield f"{start} {single.x_column} alone, the same models: {single.describe()}"
    yield "R² is of the logits, the mean absolute error (MAE) of the accuracies"


def _format_shape(fit: Fit) -> str:
    if fit.local:
        return "local curve"
    intercept, *slopes = (f"{value:.4f}" for value in fit.coefficients)
    if len(slopes) == 1:
        return f"slope {slopes[0]}, intercept {intercept}"
    return f"slopes {', '.join(slopes[:-1])} and {slopes[-1]}, intercept {intercept}"
