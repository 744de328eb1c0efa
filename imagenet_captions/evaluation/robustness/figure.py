"""The figure of effective robustness: one panel a shift, logit axes, the baseline's curve, models by family."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import Floats, clopper_pearson, exact_intervals_possible, middle
from imagenet_captions.evaluation.robustness.fits import (
    BASELINES,
    EXTRAPOLATED,
    LEAST_IN_BIN,
    SPARSE,
    Fit,
    inverse_logit,
    logit,
)
from imagenet_captions.evaluation.robustness.measure import ALL, SAME, MultiIdReport, RobustnessReport
from imagenet_captions.evaluation.robustness.output import format_quality
from imagenet_captions.evaluation.robustness.tables import Result, readable
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MEAN_LABEL = "Mean of V2, R, Sketch, ObjectNet"
YOURS = "your models"
PUBLISHED_SUFFIX = " (published)"
_EDGE = (0.05, 99.95)  # where 0 % and 100 %, which have no logit, are drawn


@dataclass(frozen=True)
class Panel:
    """One panel: the fits whose curves it shows (four make the mean), the models in it by family, and a note."""

    label: str
    fits: tuple[Fit, ...]
    families: Mapping[str, Sequence[Result]]
    note: str = ""

    def point(self, result: Result) -> tuple[float, float]:
        """Return ImageNet accuracy and accuracy under shift of a model in it, or of one of the fits'."""
        shifted = [result.accuracies[fit.shift.column] for fit in self.fits]
        return result.accuracies[self.fits[0].x_column], float(np.mean(shifted))

    def fitted(self) -> list[Result]:
        """Return the models that all of its curves are fitted over."""
        return [model for model in self.fits[0].models if all(model in fit.models for fit in self.fits)]

    def mark(self, imagenet: float) -> str:
        """Return how far the curve can be relied on there: `extrapolated`, `sparse` or nothing."""
        marks = {fit.mark(imagenet) for fit in self.fits}
        return next((mark for mark in (EXTRAPOLATED, SPARSE) if mark in marks), "")

    def predict(self, x: Floats) -> Floats:
        """Return the baseline's curve; that of the mean is the mean of four, so heights above it are its values."""
        return np.asarray(np.mean([fit.predict_all(x) for fit in self.fits], axis=0), dtype=np.float64)

    def band(self, x: Floats) -> tuple[Floats, Floats]:
        """Return the ends of the middle 95 % of the bootstrap's curves."""
        ends = [middle(np.mean([fit.predict_draws(value) for fit in self.fits], axis=0)) for value in x]
        return np.array([low for low, _ in ends]), np.array([high for _, high in ends])

    def exact_interval(self, result: Result) -> list[tuple[float, float]] | None:
        """Return the ends of the accuracy's Clopper-Pearson interval as points; none for the mean, or without scipy."""
        if len(self.fits) > 1 or not exact_intervals_possible():
            return None
        point, images = self.point(result), result.size(self.fits[0].shift.column)
        return None if images is None else [(point[0], end) for end in clopper_pearson(point[1], images)]

    def limits(self, models: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the axes' ends in percent: all models with a margin, and the curve over the same range."""
        x, y = to_logits(models)
        x_low, x_high = x.min() - 0.35, x.max() + 0.35
        curve = logit(self.predict(inverse_logit([x_low, x_high])))
        y_low, y_high = min(y.min(), curve.min()) - 0.25, max(y.max(), curve.max()) + 0.25
        left, right, bottom, top = inverse_logit([x_low, x_high, y_low, y_high])
        return (float(left), float(right)), (float(bottom), float(top))


def group_families(results: Sequence[Result], published: Sequence[Result]) -> dict[str, list[Result]]:
    """Return models by their name in the legend, the published ones first."""
    families: dict[str, list[Result]] = {}
    for result in published:
        families.setdefault(result.family + PUBLISHED_SUFFIX, []).append(result)
    for result in results:
        families.setdefault(result.family or YOURS, []).append(result)
    return families


def make_panels(
    report: RobustnessReport, published: Sequence[Result] = (), multi: MultiIdReport | None = None
) -> list[Panel]:
    """Return a panel for each fit of the report, with the models whose values rest on it and published ones beside.

    With `multi`, a note says how well the fit on several ID sets describes its models.

    The mean comes first where the table has one on all 1000 classes; on the shifts' own classes a model has no single
    ImageNet accuracy to stand at.
    """
    planes = multi.fits if multi is not None else ()
    notes = {plane.shift.column: f"{len(plane.columns)} ID sets: {format_quality(plane)}" for plane in planes}
    panels = []
    averaged = [model.result for model in report.models if model.mean and model.mean.compared_on == ALL]
    if averaged:
        fits = tuple(fit for fit in report.fits if fit.shift.averaged and not fit.same_classes)
        panels.append(_make_panel(MEAN_LABEL, fits, averaged, published))
    shifts = [fit.shift for fit in report.fits]
    for fit in report.fits:
        label = fit.shift.label
        if shifts.count(fit.shift) > 1:
            label += f", {SAME if fit.same_classes else ALL}"
        measured = [model.result for model in report.models if any(found.fit is fit for found in model.shifts.values())]
        panel = _make_panel(label, (fit,), measured, published)
        panels.append(replace(panel, note=notes.get(fit.shift.column, "")))
    return panels


def _make_panel(label: str, fits: tuple[Fit, ...], results: Sequence[Result], published: Sequence[Result]) -> Panel:
    columns = {fits[0].x_column, *(fit.shift.column for fit in fits)}
    beside = [result for result in published if columns <= result.accuracies.keys()]
    return Panel(label, fits, group_families(results, beside))


def to_logits(points: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    clipped = np.clip(np.array(points, dtype=np.float64).reshape(-1, 2), *_EDGE)
    return logit(clipped[:, 0]), logit(clipped[:, 1])


log = logging.getLogger(__name__)

FORMATS = (".png", ".svg")

# Okabe and Ito's colors, which color-blind readers can tell apart; markers differ as well.
_PUBLISHED_STYLES = {
    "CLIP": ("o", "#0072B2"),
    "CLIP, open data": ("^", "#56B4E9"),
    "ALIGN": ("D", "#009E73"),
    "BASIC": ("s", "#CC79A7"),
}
_OTHER_MARKERS = "*PXvph"
_OTHER_COLORS = ("#D55E00", "#E69F00", "#000000", "#8C564B", "#7F3FBF", "#B22222")
_SIZES = {"*": 9.5, "P": 8, "X": 8}
_TESTBED, _LINE, IDENTITY = "#B8B8B8", "#444444", "#888888"
_FITTED, _FITTED_OWN = "ImageNet models in the fit", "models in the fit"
HOLLOW = " (hollow)"  # in the legend, of markers where the curve is in doubt
_CURVES = {
    "": ("baseline '{baseline}'", "-"),
    SPARSE: (f"sparse: under {LEAST_IN_BIN} models{HOLLOW}", (0, (1.6, 1))),
    EXTRAPOLATED: (f"extrapolated{HOLLOW}", (0, (0.8, 1.6))),
}
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9)
STYLE: dict[str, Any] = {
    "svg.hashsalt": "imagenet-captions",
    "font.size": 9,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}


def check_figure_path(path: Path, parameter: str = "path") -> None:
    """Refuse a figure that cannot be drawn later: a wrong suffix, or no matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"`{parameter}` {path} is not a {' or '.join(FORMATS)} file; give it one of these suffixes")
    require("report", "a figure", "matplotlib")


def draw_robustness(
    report: RobustnessReport,
    path: Path,
    published: Sequence[Result] = (),
    kind: str | None = None,
    multi: MultiIdReport | None = None,
) -> None:
    """Draw the figure of a report, with published models beside; the same input gives the same bytes.

    `kind` is the format, .png or .svg, of a path whose suffix does not say it. `multi` adds a note to each panel.
    """
    if kind is None:
        check_figure_path(path)
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    families = group_families([model.result for model in report.models], published)
    panels = make_panels(report, published, multi)
    if not panels:
        raise InputError("no model has both an ImageNet accuracy and one under a shift, so there is nothing to draw")
    with matplotlib.style.context(["default", STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        width = max(4.0 * columns + 0.4, 6.4)
        legend_columns = _count_legend_columns(families, width)
        height = 3.75 * rows + 0.4 + 0.2 * math.ceil((len(families) + 6) / legend_columns)
        figure = Figure(figsize=(width, height), layout=layout)
        all_axes = figure.subplots(rows, columns, squeeze=False)
        handles: dict[str, Artist] = {}
        for axes, panel in zip(all_axes.flat, panels, strict=False):
            handles |= _draw_panel(axes, panel, families)
        for axes in all_axes.flat[len(panels) :]:
            axes.set_axis_off()
        _add_legend(figure, handles, legend_columns)
        save_figure(figure, path, kind or path.suffix)


def _draw_panel(axes: Axes, panel: Panel, families: Mapping[str, Sequence[Result]]) -> dict[str, Artist]:
    """Draw one panel, and return what the legend shows, by its name there."""
    shown = [result for family in panel.families.values() for result in family]
    x_limits, y_limits = panel.limits([panel.point(result) for result in shown])
    set_axes(axes, x_limits, y_limits)
    handles: dict[str, Artist] = {}
    for name, marker, color in _styles(families):
        handles[name] = _draw_family(axes, panel, panel.families.get(name, ()), marker, color)
    handles |= draw_baseline(axes, panel, x_limits)
    axes.set_title(panel.label, fontweight="bold")
    axes.set_xlabel("ImageNet, same classes (top-1, %)" if panel.fits[0].same_classes else "ImageNet (top-1, %)")
    axes.set_ylabel("mean accuracy (top-1, %)" if len(panel.fits) > 1 else f"{panel.fits[0].shift.label} (top-1, %)")
    return handles


def _draw_family(axes: Axes, panel: Panel, results: Sequence[Result], marker: str, color: str) -> Artist:
    """Draw the models of a family, hollow where the curve under them is sparse or extrapolated."""
    for ends in filter(None, map(panel.exact_interval, results)):
        axes.plot(*to_logits(ends), color=color, linewidth=1, zorder=3.9)
    points = [panel.point(result) for result in results]
    sure, doubtful = ([point for point in points if bool(panel.mark(point[0])) == doubt] for doubt in (False, True))
    look: dict[str, Any] = {"color": color, "markersize": _SIZES.get(marker, 6), "zorder": 4}
    axes.plot(*to_logits(doubtful), marker, markerfacecolor="white", markeredgewidth=1.1, **look)
    (handle,) = axes.plot(*to_logits(sure), marker, markeredgecolor="white", markeredgewidth=0.7, **look)
    return handle


def draw_baseline(axes: Axes, panel: Panel, x_limits: tuple[float, float]) -> dict[str, Artist]:
    """Draw a panel's curves, the models that they are fitted over, and y = x; return what the legend shows."""
    left, right = (float(end) for end in logit(x_limits))
    grid = np.linspace(left, right, 160)
    x = inverse_logit(grid)
    low, high = panel.band(x)
    band = axes.fill_between(grid, logit(low), logit(high), color=_LINE, alpha=0.22, linewidth=0, zorder=2)
    curve, marks = logit(panel.predict(x)), np.array([panel.mark(value) for value in x])
    handles: dict[str, Artist] = {}
    for mark, (text, dashes) in _CURVES.items():
        if mark and not (marks == mark).any():
            continue
        (line,) = axes.plot(grid, _only(curve, marks == mark), color=_LINE, linewidth=1.4, linestyle=dashes, zorder=3)
        handles[text.format(baseline=readable(panel.fits[0].baseline, 24))] = line
    fitted = [panel.point(result) for result in panel.fitted()]
    (points,) = axes.plot(*to_logits(fitted), ".", color=_TESTBED, markersize=4.5, zorder=1.5)
    (identity,) = axes.plot(grid, grid, color=IDENTITY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    if len(panel.fits) == 1:
        text = f"fit: n = {panel.fits[0].n}, r = {panel.fits[0].shape.r:.4f}"
        text += f"\n{panel.note}" if panel.note else ""
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        axes.annotate(text, (0.97, 0.04), xycoords="axes fraction", ha="right", color=_LINE, size=8, bbox=box)
    name = _FITTED if panel.fits[0].baseline in BASELINES else _FITTED_OWN
    return {**handles, "its 95 % band": band, name: points, "y = x": identity}


def _only(curve: Floats, where: npt.NDArray[np.bool_]) -> Floats:
    """Return the part of a curve that is drawn in one style, with one step beyond it, so that parts meet."""
    wider = where | np.roll(where, 1) & (np.arange(len(where)) > 0)
    return np.where(wider, curve, np.nan)


def _styles(families: Mapping[str, Sequence[Result]]) -> list[tuple[str, str, str]]:
    """Return legend name, marker and color of every family; known families keep theirs."""
    styles = []
    others = 0
    for name in families:
        style = _PUBLISHED_STYLES.get(name.removesuffix(PUBLISHED_SUFFIX))
        if style is None:  # the second round pairs every marker with another color
            kinds = len(_OTHER_MARKERS)
            style = (_OTHER_MARKERS[others % kinds], _OTHER_COLORS[(others + others // kinds) % kinds])
            others += 1
        styles.append((name, *style))
    return styles


def set_axes(axes: Axes, x_limits: tuple[float, float], y_limits: tuple[float, float]) -> None:
    """Give both axes, which are logits, round percentages as ticks, their ends and a grid."""
    for axis, limits in ((axes.xaxis, x_limits), (axes.yaxis, y_limits)):
        ticks = choose_ticks(*limits)
        axis.set_ticks(list(logit(ticks)), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(*(float(end) for end in logit(x_limits)))
    axes.set_ylim(*(float(end) for end in logit(y_limits)))
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)


def choose_ticks(low: float, high: float) -> list[float]:
    """Return round percentages evenly spread on a logit axis, and finer ones if the axis is short.

    >>> choose_ticks(3, 60), choose_ticks(63, 84)
    ([5, 10, 20, 30, 40, 50, 60], [65, 70, 75, 80])
    """
    ticks: list[float] = []
    for choice in (_TICKS, range(5, 100, 5), range(2, 100, 2), range(1, 100)):
        ticks = [tick for tick in choice if low <= tick <= high]
        if len(ticks) >= 4:
            break
    return ticks


def _count_legend_columns(families: Mapping[str, Sequence[Result]], width: float) -> int:
    """Return how many columns fit into this width, by their longest text."""
    longest = max(len(legend_text(name)) for name in (*families, _FITTED, _CURVES[SPARSE][0]))
    return max(1, min(4, int(width / (0.65 + 0.075 * longest))))


def _add_legend(figure: Figure, handles: Mapping[str, Artist], columns: int) -> None:
    figure.legend(
        list(handles.values()),
        [legend_text(name) for name in handles],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
    )


def legend_text(name: str) -> str:
    """Return a name escaped for matplotlib, which reads dollars as formulas and hides a leading underscore."""
    short = readable(name, 40)
    return ("\u2009" if short.startswith("_") else "") + short.replace("$", r"\$")


def save_figure(figure: Figure, path: Path, suffix: str) -> None:
    """Write a figure as .png or .svg, without the time; warn of letters that the font lacks."""
    kind = suffix.lower().removeprefix(".")
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with replacing(path) as partial, warnings.catch_warnings(record=True) as raised:
        warnings.filterwarnings("always", message="Glyph .* missing")
        figure.savefig(partial, format=kind, dpi=160, metadata=metadata)
    if raised:
        log.warning("note: the font of the figure lacks letters of a name, which are drawn as boxes")
