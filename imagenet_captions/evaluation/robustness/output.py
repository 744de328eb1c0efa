"""The command `robustness`: a table of accuracies to ER.csv, a table for the terminal, and a figure."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_captions.errors import InputError, aligned, shortened
from imagenet_captions.evaluation.drawing import (
    IDENTITY,
    LINE,
    Point,
    check_figure_path,
    draw_identity,
    legend_text,
    logit_panels,
    set_axes,
    to_logits,
)
from imagenet_captions.evaluation.intervals import Floats, clopper_pearson, exact_intervals_possible, middle
from imagenet_captions.evaluation.robustness.fits import (
    ALL,
    EXTRAPOLATED,
    LEAST_NEAR,
    SAME,
    SPARSE,
    Baseline,
    Fit,
    inverse_logit,
    logit,
)
from imagenet_captions.evaluation.robustness.measure import (
    LONGEST_NAME,
    Robustness,
    RobustnessReport,
    ShiftRobustness,
    measure_robustness,
    worst,
    write_notes,
)
from imagenet_captions.evaluation.robustness.tables import (
    BASELINES,
    IMAGENET,
    IMAGES,
    SHIFTS,
    Result,
    Results,
    read_published,
    read_results,
)
from imagenet_captions.evaluation.settings import RobustnessSettings
from imagenet_captions.storage.faults import how_to_install
from imagenet_captions.storage.files import csv_text, write_text
from imagenet_captions.storage.outputs import producing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

_LONGEST_CELL = 36
_SIGNS = {SPARSE: "~", EXTRAPOLATED: "^", "": ""}
_LEGEND = {
    " p": "p: the percentage of ordinary trainings of about that accuracy that lie lower above the curve",
    "*": "* against the accuracy on all 1000 classes; without it, on the shift's own classes",
    "~": f"~ sparse: the curve has fewer than {LEAST_NEAR} trainings within reach, so its interval is not one at 95 %",
    "^": "^ extrapolated: the fit has no model of so low or so high an ImageNet accuracy",
}


def measure_results(settings: RobustnessSettings, overwrite: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the effective robustness of a table's models, as text and as values, and write what is asked for."""
    ids, own = settings.id_sets, settings.baseline_from
    results = None if settings.shipped else settings.results
    table = read_published() if results is None else read_results(results, settings.units, ids)
    if settings.plot is not None:
        check_figure_path(settings.plot, "plot")
    if settings.units is None and results is not None:
        log.info("the accuracies are taken as %s", "percent" if table.units == "percent" else "fractions")
    for name in table.own:
        if not any(name.startswith(each) for each in ids):
            log.info("%s is not among the shifts, and only `id_sets` reads it", name)
    with producing(settings.outputs(), [results, own], overwrite) as partials:
        fitted, name = table, settings.results.name
        if own is not None:
            fitted, name = read_results(own, own=ids), own.name
        of_table = Baseline(name, fitted.rows, f"in logit space over the models of {name}")
        multi = None
        if ids:
            multi = measure_robustness(table.rows, of_table, settings.all_classes, ids)
        baseline = settings.baseline or "auto" if own is None else of_table
        report = measure_robustness(table.rows, baseline, settings.all_classes)
        report = replace(report, multi=multi)
        for note in (*write_notes(report), *(multi.unfit if multi else ())):
            log.warning("note: %s", note)
        if settings.out is not None:
            if not exact_intervals_possible():
                how = how_to_install("report")
                log.warning("note: scipy is not installed, so %s has no intervals; %s", settings.out, how)
            write_robustness(partials[0], table, report)
        if settings.plot is not None:
            with_published = settings.with_published and results is not None
            beside = read_published().rows if with_published else ()
            draw_robustness(report, partials[-1], beside, settings.plot.suffix)
    models = []
    for model, cells in zip(report.models, _added_cells(table, report), strict=True):
        result = model.result
        values: dict[str, Any] = {"model": result.model, "accuracies": result.accuracies}
        for name, cell in cells.items():
            values[name] = cell or None
            with suppress(ValueError):
                values[name] = float(cell)
        models.append(values)
    return format_robustness(report), {"models": models}


def write_robustness(path: Path, results: Results, report: RobustnessReport) -> None:
    """Write ER.csv: the given results, then effective robustness in percentage points with its intervals.

    Every accuracy has its exact interval, in the unit of the results, if scipy is installed.
    """
    rows = []
    unit, digits = (1, 4) if results.units == "percent" else (100, 6)
    for model, added in zip(report.models, _added_cells(results, report), strict=True):
        row = dict(model.result.cells)
        for column in (*IMAGES, *results.own):
            if column in results.columns and exact_intervals_possible():
                percent, images = model.result.accuracies.get(column), model.result.size(column)
                ends = () if percent is None or images is None else clopper_pearson(percent, images)
                texts = [f"{end / unit:.{digits}f}" for end in ends]
                row[f"{column}_low"], row[f"{column}_high"] = texts or ("", "")
        rows.append(row | added)
    write_text(path, csv_text([list(rows[0]), *(row.values() for row in rows)]))


def _added_cells(results: Results, report: RobustnessReport) -> list[dict[str, str]]:
    """Return what ER.csv adds to each model's row; R² and MAE are the fit's, the same in every row with a value."""
    rows = []
    for model in report.models:
        cells: dict[str, str] = {}
        for shift in SHIFTS:
            column, has_all_classes = shift.column, shift.same_classes is None
            if column in results.columns:
                cells |= _cells(column, model.shifts.get(column), not has_all_classes)
        cells |= _cells("mean", model.mean)
        cells["mean_note"] = f"no mean, {model.no_mean}" if model.no_mean else ""
        cells["baseline"] = report.name
        rows.append(cells)
    if (multi := report.multi) is not None:
        for model, cells in zip(multi.models, rows, strict=True):
            for fit in multi.fits:
                column = fit.shift.column
                found = model.shifts.get(column)
                cells |= _cells(f"{column}_multi_id", found)
                for name, each in (("multi_id", fit), ("single_id", fit.first_alone)):
                    _, r2, error = each.quality
                    cells[f"{column}_{name}_r2"] = f"{r2:.4f}" if found else ""
                    cells[f"{column}_{name}_mae"] = f"{error:.4f}" if found else ""
            cells |= _cells("mean_multi_id", model.mean)
            cells["multi_id_sets"] = multi.name
    return rows


def _cells(name: str, found: Robustness | None, some_classes: bool = True) -> dict[str, str]:
    def cell(what: str, digits: str = ".4f") -> str:
        number = getattr(found, what, None)
        return "" if number is None else format(number, digits)

    value = f"{name}_effective_robustness"
    low, high = (f"{end:.4f}" for end in found.interval) if found else ("", "")
    cells = {value: cell("value"), f"{value}_low": low, f"{value}_high": high}
    if not name.startswith("mean"):
        cells[f"{name}_predicted"] = cell("predicted")
        for what in ("deviation", "below", "trainings"):
            cells[f"{name}_ordinary_{what}"] = cell(what, ".4g")
    if some_classes:
        cells[f"{name}_compared_on"] = cell("compared_on", "")
    return cells | {f"{name}_mark": cell("mark", "")}


def format_robustness(report: RobustnessReport) -> str:
    """Return the table for the terminal: points above the baseline, a column for each shift, then the fits.

    With several ID sets, a second row of each model has the points above their planes.
    """
    shifts = [shift for shift in SHIFTS if any(shift.column in model.shifts for model in report.models)]
    names = (shift.label.removeprefix("ImageNet").lstrip("-") for shift in shifts)
    reports = [report] if report.multi is None else [report, report.multi]
    rows = []
    for models in zip(*(each.models for each in reports), strict=True):
        for model, each in zip(models, reports, strict=True):
            imagenet = model.result.accuracies.get(IMAGENET)
            rows.append(
                [
                    shortened(model.result.model, _LONGEST_CELL),
                    "-" if imagenet is None else f"{imagenet:.1f} %",
                    *(_points(model.shifts.get(shift.column)) for shift in shifts),
                    _points(model.mean),
                    shortened(each.name, _LONGEST_CELL),
                ]
            )
    cells = "".join(cell for row in rows for cell in row[2:-1])
    lines = ["Effective robustness in percentage points"]
    lines += aligned([["model", "ImageNet", *names, "mean", "baseline"], *rows])
    lines += ["", *(text for sign, text in _LEGEND.items() if sign in cells)]
    lines.append(
        "mean: over ImageNetV2, ImageNet-R, ImageNet-Sketch and ObjectNet, where R and ObjectNet are compared alike"
    )
    for each in reports:
        lines += _format_fits(each)
    return "\n".join(lines)


def _points(found: Robustness | None) -> str:
    if found is None:
        return "-"
    cell = f"{found.value:+.2f}{'*' if found.compared_on == ALL else ''}{_SIGNS[found.mark]}"
    if isinstance(found, ShiftRobustness) and found.below is not None and not found.mark:
        return f"{cell} p{found.below:.0f}"
    return cell


def _format_fits(report: RobustnessReport) -> Iterator[str]:
    over, is_multi = report.baseline.over, len(report.ids) > 1
    if is_multi:
        over = f"linear {over} (Shi et al. 2023)"
    yield f"baseline {shortened(report.name, LONGEST_NAME)}: {shortened(over, 100)}"
    for fit in report.fits:
        shape = "local curve"
        if fit.near is None:
            intercept, *slopes = (f"{value:.4f}" for value in fit.coefficients)
            several = f"slopes {', '.join(slopes[:-1])} and {slopes[-1]}"
            shape = f"{several if is_multi else f'slope {slopes[0]}'}, intercept {intercept}"
        start = f"  {fit.shift.column} from"
        if is_multi:
            yield f"{start} {', '.join(fit.columns)}: {shape}, {fit.describe()}"
            yield f"{start} {fit.x_column} alone, the same models: {fit.first_alone.describe()}"
        else:
            (low,), (high,) = fit.ranges
            quality = f"r {fit.quality[0]:.4f}, n {fit.size}, from {low:.1f} to {high:.1f} %"
            yield f"{start} {fit.x_column}: {shape}, {quality}"
    if is_multi:
        yield "R² is of the logits, the mean absolute error (MAE) of the accuracies"


# The figure: one panel a shift, logit axes, the baseline's curve, models by family.

MEAN_LABEL = "Mean of V2, R, Sketch, ObjectNet"
_PUBLISHED, _YOURS = " (published)", "your models"
_STYLES = {
    "CLIP": ("o", "#0072B2"),
    "CLIP, open data": ("^", "#56B4E9"),
    "ALIGN": ("D", "#009E73"),
    "BASIC": ("s", "#CC79A7"),
}
_OTHER_MARKERS = "*PXvph"
_OTHER_COLORS = ("#D55E00", "#E69F00", "#000000", "#8C564B", "#7F3FBF", "#B22222")
_PANEL = (250.0, 215.0)  # about the size of a panel in points
_NAME_SIZE = 5.5
_MAKER = re.compile("^(Open)?CLIP ")  # which the marker says
_OFFSETS = [  # of names from their points
    (side * right, up) for right in (5, 14, 28, 45) for up in (0, -5, 5, -10, 10, -16, 16, -24) for side in (1, -1)
]
_SIZES = {"*": 9.5, "P": 8, "X": 8}
_FITTED, _FITTED_OWN = "ImageNet models in the fit", "models in the fit"
HOLLOW = " (hollow)"  # in the legend, of markers where the curve is in doubt
CURVES = {
    "": ("baseline '{baseline}'", "-"),
    SPARSE: (f"sparse: under {LEAST_NEAR} trainings{HOLLOW}", (0, (1.6, 1))),
    EXTRAPOLATED: (f"extrapolated{HOLLOW}", (0, (0.8, 1.6))),
}


@dataclass(frozen=True)
class Panel:
    """One panel: the fits whose curves it shows (four make the mean), the models in it, and a note."""

    label: str
    fits: tuple[Fit, ...]
    results: Sequence[Result] = ()
    note: str = ""

    def point(self, result: Result) -> Point:
        """Return ImageNet accuracy and accuracy under shift of a model in it, or of one of the fits'."""
        shifted = [result.accuracies[fit.shift.column] for fit in self.fits]
        return result.accuracies[self.fits[0].x_column], float(np.mean(shifted))

    def mark(self, imagenet: float) -> str:
        """Return how far the curve can be relied on there: `extrapolated`, `sparse` or nothing."""
        return worst([fit.mark(imagenet) for fit in self.fits])

    def predict(self, x: Floats) -> Floats:
        """Return the baseline's curve; that of the mean is the mean of four, so heights above it are its values."""
        curves = [fit.predict_all(x) for fit in self.fits]
        return np.asarray(np.mean(curves, axis=0), dtype=np.float64)


def make_panels(report: RobustnessReport, published: Sequence[Result] = ()) -> list[Panel]:
    """Return a panel for each fit of the report, with published models and those whose values rest on it.

    With several ID sets, a note says how well their fit describes its models. The mean comes first where the table has
    one on all 1000 classes; on the shifts' own classes a model has no single ImageNet accuracy to stand at.
    """
    notes = {}
    for plane in report.multi.fits if report.multi is not None else ():
        notes[plane.shift.column] = f"{len(plane.columns)} ID sets: {plane.describe()}"
    panels = []
    averaged = [each.result for each in report.models if each.mean and each.mean.compared_on == ALL]
    if averaged:
        fits = tuple(fit for fit in report.fits if fit.shift.averaged and fit.compared_on != SAME)
        panels.append(Panel(MEAN_LABEL, fits, averaged))
    shifts = [fit.shift for fit in report.fits]
    for fit in report.fits:
        label, column = fit.shift.label, fit.shift.column
        if shifts.count(fit.shift) > 1:
            label += f", {fit.compared_on}"
        known = [each for each in report.models if column in each.shifts]
        measured = [each.result for each in known if each.shifts[column].fit is fit]
        panels.append(Panel(label, (fit,), measured, notes.get(column, "")))
    for at, panel in enumerate(panels):
        columns = {panel.fits[0].x_column, *(fit.shift.column for fit in panel.fits)}
        beside = [result for result in published if columns <= result.accuracies.keys()]
        panels[at] = replace(panel, results=[*beside, *panel.results])
    return panels


def draw_robustness(
    report: RobustnessReport, path: Path, published: Sequence[Result] = (), kind: str | None = None
) -> None:
    """Draw the figure of a report, with published models beside; the same input gives the same bytes.

    `kind` is the format, .png or .svg, of a path whose suffix does not say it.
    """
    published = [replace(each, family=each.family + _PUBLISHED) for each in published]
    panels = make_panels(report, published)
    if not panels:
        raise InputError("no model has both an ImageNet accuracy and one under a shift, so there is nothing to draw")
    results = [*published, *(model.result for model in report.models)]
    styles = {result.family or _YOURS: ("", "") for result in results}
    others = [name for name in styles if name.removesuffix(_PUBLISHED) not in _STYLES]
    for name in styles.keys() - others:
        styles[name] = _STYLES[name.removesuffix(_PUBLISHED)]
    for at, name in enumerate(others):  # the second round pairs every marker with another color
        styles[name] = _OTHER_MARKERS[at % 6], _OTHER_COLORS[(at + at // 6) % 6]
    names = [*styles, _FITTED, *(text for text, _ in CURVES.values()), "band", "ordinary", "y = x"]
    with logit_panels(path, kind or path.suffix, len(panels), names) as (all_axes, handles):
        for axes, panel in zip(all_axes, panels, strict=True):
            fit = panel.fits[0]
            x, y = to_logits([panel.point(result) for result in panel.results])
            ends = np.array([x.min() - 0.35, x.max() + 0.35])
            y = np.concatenate([y, logit(panel.predict(inverse_logit(ends)))])
            x_limits = inverse_logit(ends).tolist()
            y_limits = inverse_logit([y.min() - 0.25, y.max() + 0.25]).tolist()
            x_name = "ImageNet, same classes" if fit.compared_on == SAME else "ImageNet"
            y_name = fit.shift.label if len(panel.fits) == 1 else "mean accuracy"
            set_axes(axes, panel.label, x_name, y_name, x_limits, y_limits)
            _draw_names(axes, panel)
            for name, style in styles.items():
                family = [result for result in panel.results if (result.family or _YOURS) == name]
                handles[name] = _draw_family(axes, panel, family, *style)
            handles |= draw_baseline(axes, panel, x_limits)


def _draw_names(axes: Axes, panel: Panel) -> None:
    """Write the names of published models beside their points, each at the nearest place that is free.

    Boxes are estimated in points, since a figure's layout is known only when it is drawn.
    """
    published = {result.model for result in read_published().rows}
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    logits = np.column_stack(to_logits([panel.point(result) for result in panel.results]))
    places = (logits - limits[:, 0]) / np.ptp(limits, axis=1) * _PANEL
    taken = [(x - 3.0, y - 3.0, x + 3.0, y + 3.0) for x, y in places]
    taken.append((_PANEL[0] - 130.0, 0.0, _PANEL[0], 30.0))  # the note on the fit
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3}
    thin = {"arrowstyle": "-", "linewidth": 0.4, "color": IDENTITY, "shrinkA": 0, "shrinkB": 2}
    look: dict[str, Any] = {"size": _NAME_SIZE, "color": LINE, "va": "center", "bbox": box}
    look |= {"textcoords": "offset points", "zorder": 3.5}
    for at in np.argsort(-places[:, 1], kind="stable"):
        name = panel.results[at].model
        if name not in published:
            continue
        text = legend_text(_MAKER.sub("", name))
        width, (x, y) = _NAME_SIZE * 0.56 * len(text), places[at]
        for right, up in _OFFSETS:
            left, bottom = x + right - (width if right < 0 else 0), y + up - _NAME_SIZE / 2
            end, top = left + width, bottom + _NAME_SIZE
            inside = min(left, bottom) >= 0 and end <= _PANEL[0] and top <= _PANEL[1]
            if inside and not any(left < c and a < end and bottom < d and b < top for a, b, c, d in taken):
                taken.append((left, bottom, end, top))
                look["ha"] = "left" if right > 0 else "right"
                look["arrowprops"] = None if (abs(right), up) == _OFFSETS[0] else thin
                axes.annotate(text, logits[at], (right, up), **look)
                break


def _draw_family(axes: Axes, panel: Panel, results: Sequence[Result], marker: str, color: str) -> Artist:
    """Draw the models of a family, hollow where the curve under them is sparse or extrapolated."""
    sure, doubtful = list[Point](), list[Point]()
    for result in results:
        x, y = panel.point(result)
        (doubtful if panel.mark(x) else sure).append((x, y))
        images = result.size(panel.fits[0].shift.column)
        if len(panel.fits) == 1 and images is not None and exact_intervals_possible():
            ends = to_logits([(x, end) for end in clopper_pearson(y, images)])
            axes.plot(*ends, color=color, linewidth=1, zorder=3.9)
    look: dict[str, Any] = {"color": color, "markersize": _SIZES.get(marker, 6), "zorder": 4}
    axes.plot(*to_logits(doubtful), marker, markerfacecolor="white", markeredgewidth=1.1, **look)
    look |= {"markeredgecolor": "white", "markeredgewidth": 0.7}
    (handle,) = axes.plot(*to_logits(sure), marker, **look)
    return handle


def draw_baseline(axes: Axes, panel: Panel, x_limits: tuple[float, float]) -> dict[str, Artist]:
    """Draw a panel's curves, the models that they are fitted over, and y = x; return what the legend shows."""
    left, right = logit(x_limits).tolist()
    grid = np.linspace(left, right, 160)
    x, fit, is_mean = inverse_logit(grid), panel.fits[0], len(panel.fits) > 1
    draws = np.mean([[fit.predict_draws(value) for value in x] for fit in panel.fits], axis=0)
    low, high = logit([middle(each) for each in draws]).T
    band = axes.fill_between(grid, low, high, color=LINE, alpha=0.22, linewidth=0, zorder=2)
    handles: dict[str, Artist] = {}
    curve, marks = logit(panel.predict(x)), np.array([panel.mark(value) for value in x])
    scatter = None if is_mean else fit.scatter(x)
    if scatter is not None:
        low, high = curve - 1.96 * scatter, curve + 1.96 * scatter
        light: dict[str, Any] = {"color": LINE, "alpha": 0.09, "linewidth": 0, "zorder": 1.8}
        handles["95 % of ordinary trainings"] = axes.fill_between(grid, low, high, **light)
    for mark, (text, dashes) in CURVES.items():
        here = marks == mark
        if mark and not here.any():
            continue
        here[1:] |= here[:-1]  # one step beyond it, so that parts meet
        shown = np.where(here, curve, np.nan)
        (line,) = axes.plot(grid, shown, color=LINE, linewidth=1.4, linestyle=dashes, zorder=3)
        handles[text.format(baseline=shortened(fit.baseline, 24))] = line
    fitted = [model for model in fit.models if all(model in each.models for each in panel.fits)]
    places = to_logits([panel.point(model) for model in fitted])
    (points,) = axes.plot(*places, ".", color="#B8B8B8", markersize=4.5, zorder=1.5)
    identity = draw_identity(axes, grid)
    if not is_mean:
        text = f"fit: n = {fit.size}, r = {fit.quality[0]:.4f}"
        text += f"\n{panel.note}" if panel.note else ""
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        look: dict[str, Any] = {"ha": "right", "color": LINE, "size": 8, "bbox": box}
        axes.annotate(text, (0.97, 0.04), xycoords="axes fraction", **look)
    name = _FITTED if fit.baseline in BASELINES else _FITTED_OWN
    return {**handles, "its 95 % band": band, name: points, "y = x": identity}
