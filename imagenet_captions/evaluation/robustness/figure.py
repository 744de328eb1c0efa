"""The figure of effective robustness: one panel a shift, logit axes, the baseline's curve, models by family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation.drawing import (
    IDENTITY,
    LINE,
    Point,
    draw_identity,
    legend_text,
    logit_panels,
    set_axes,
    to_logits,
)
from imagenet_captions.evaluation.intervals import Floats, clopper_pearson, exact_intervals_possible, middle
from imagenet_captions.evaluation.robustness.fits import (
    BASELINES,
    EXTRAPOLATED,
    LEAST_NEAR,
    SPARSE,
    Fit,
    inverse_logit,
    logit,
)
from imagenet_captions.evaluation.robustness.measure import ALL, SAME, RobustnessReport, worst
from imagenet_captions.evaluation.robustness.tables import Result, read_published

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MEAN_LABEL = "Mean of V2, R, Sketch, ObjectNet"
_PUBLISHED = " (published)"
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
    """One panel: the fits whose curves it shows (four make the mean), the models in it by family, and a note."""

    label: str
    fits: tuple[Fit, ...]
    families: Mapping[str, Sequence[Result]]
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

    def band(self, x: Floats) -> tuple[Floats, Floats]:
        """Return the ends of the middle 95 % of the draws' curves."""
        ends = []
        for value in x:
            draws = [fit.predict_draws(value) for fit in self.fits]
            ends.append(middle(np.mean(draws, axis=0)))
        low, high = np.array(ends).T
        return low, high

    def scatter(self, x: Floats) -> tuple[Floats, Floats] | None:
        """Return where 95 % of ordinary trainings lie around a single local curve."""
        scatter = self.fits[0].scatter(x) if len(self.fits) == 1 else None
        if scatter is None:
            return None
        curve = logit(self.predict(x))
        return inverse_logit(curve - 1.96 * scatter), inverse_logit(curve + 1.96 * scatter)

    def limits(self, models: Sequence[Point]) -> tuple[Point, Point]:
        """Return the axes' ends in percent: all models with a margin, and the curve over the same range."""
        x, y = to_logits(models)
        ends = np.array([x.min() - 0.35, x.max() + 0.35])
        y = np.concatenate([y, logit(self.predict(inverse_logit(ends)))])
        left, right = inverse_logit(ends).tolist()
        bottom, top = inverse_logit([y.min() - 0.25, y.max() + 0.25]).tolist()
        return (left, right), (bottom, top)


def make_panels(
    report: RobustnessReport, published: Sequence[Result] = (), multi: RobustnessReport | None = None
) -> list[Panel]:
    """Return a panel for each fit of the report, with the models whose values rest on it and published ones beside.

    With `multi`, a note says how well the fit on several ID sets describes its models. The mean comes first where the
    table has one on all 1000 classes; on the shifts' own classes a model has no single ImageNet accuracy to stand at.
    """
    notes = {}
    for plane in multi.fits if multi is not None else ():
        notes[plane.shift.column] = f"{len(plane.columns)} ID sets: {plane.describe()}"

    def panel(label: str, fits: tuple[Fit, ...], results: Sequence[Result], note: str = "") -> Panel:
        columns = {fits[0].x_column, *(fit.shift.column for fit in fits)}
        beside = [result for result in published if columns <= result.accuracies.keys()]
        return Panel(label, fits, _families(results, beside), note)

    averaged = []
    measured: dict[int, list[Result]] = {id(fit): [] for fit in report.fits}
    for model in report.models:
        if model.mean is not None and model.mean.compared_on == ALL:
            averaged.append(model.result)
        for found in model.shifts.values():
            measured[id(found.fit)].append(model.result)
    fits = tuple(fit for fit in report.fits if fit.shift.averaged and not fit.same_classes)
    panels = [panel(MEAN_LABEL, fits, averaged)] if averaged else []
    shifts = [fit.shift for fit in report.fits]
    for fit in report.fits:
        label = fit.shift.label
        if shifts.count(fit.shift) > 1:
            label += f", {SAME if fit.same_classes else ALL}"
        panels.append(panel(label, (fit,), measured[id(fit)], notes.get(fit.shift.column, "")))
    return panels


def _families(results: Sequence[Result], published: Sequence[Result]) -> dict[str, list[Result]]:
    """Return models by their name in the legend, the published ones first."""
    families: dict[str, list[Result]] = {}
    for result in published:
        families.setdefault(result.family + _PUBLISHED, []).append(result)
    for result in results:
        families.setdefault(result.family or "your models", []).append(result)
    return families


def draw_robustness(
    report: RobustnessReport,
    path: Path,
    published: Sequence[Result] = (),
    kind: str | None = None,
    multi: RobustnessReport | None = None,
) -> None:
    """Draw the figure of a report, with published models beside; the same input gives the same bytes.

    `kind` is the format, .png or .svg, of a path whose suffix does not say it. `multi` adds a note to each panel.
    """
    panels = make_panels(report, published, multi)
    if not panels:
        raise InputError("no model has both an ImageNet accuracy and one under a shift, so there is nothing to draw")
    styles: dict[str, tuple[str, str]] = {}
    others = 0
    for name in _families([model.result for model in report.models], published):
        known = _STYLES.get(name.removesuffix(_PUBLISHED))
        if known is None:  # the second round pairs every marker with another color
            known = _OTHER_MARKERS[others % 6], _OTHER_COLORS[(others + others // 6) % 6]
            others += 1
        styles[name] = known
    names = [*styles, _FITTED, *(text for text, _ in CURVES.values()), "band", "ordinary", "y = x"]
    with logit_panels(path, kind or path.suffix, len(panels), names) as (all_axes, handles):
        for axes, panel in zip(all_axes, panels, strict=True):
            shown = [result for family in panel.families.values() for result in family]
            x_limits, y_limits = panel.limits([panel.point(result) for result in shown])
            set_axes(axes, x_limits, y_limits)
            _draw_names(axes, panel, shown)
            for name, style in styles.items():
                handles[name] = _draw_family(axes, panel, panel.families.get(name, ()), *style)
            handles |= draw_baseline(axes, panel, x_limits)
            fit = panel.fits[0]
            axes.set_title(panel.label, fontweight="bold")
            same = ", same classes" if fit.same_classes else ""
            axes.set_xlabel(f"ImageNet{same} (top-1, %)")
            name = fit.shift.label if len(panel.fits) == 1 else "mean accuracy"
            axes.set_ylabel(f"{name} (top-1, %)")


def _draw_names(axes: Axes, panel: Panel, results: Sequence[Result]) -> None:
    """Write the names of published models beside their points, each at the nearest place that is free.

    Boxes are estimated in points, since a figure's layout is known only when it is drawn.
    """
    published = {result.model for result in read_published().rows}
    limits = np.array([axes.get_xlim(), axes.get_ylim()])
    logits = np.column_stack(to_logits([panel.point(result) for result in results]))
    places = (logits - limits[:, 0]) / np.ptp(limits, axis=1) * _PANEL
    taken = [(x - 3.0, y - 3.0, x + 3.0, y + 3.0) for x, y in places]
    taken.append((_PANEL[0] - 130.0, 0.0, _PANEL[0], 30.0))  # the note on the fit
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3}
    thin = {"arrowstyle": "-", "linewidth": 0.4, "color": IDENTITY, "shrinkA": 0, "shrinkB": 2}
    for at in np.argsort(-places[:, 1], kind="stable"):
        if results[at].model not in published:
            continue
        text = legend_text(_MAKER.sub("", results[at].model))
        width, (x, y) = _NAME_SIZE * 0.56 * len(text), places[at]
        for right, up in _OFFSETS:
            left, bottom = x + right - (width if right < 0 else 0), y + up - _NAME_SIZE / 2
            end, top = left + width, bottom + _NAME_SIZE
            inside = min(left, bottom) >= 0 and end <= _PANEL[0] and top <= _PANEL[1]
            if inside and not any(left < c and a < end and bottom < d and b < top for a, b, c, d in taken):
                taken.append((left, bottom, end, top))
                look: dict[str, Any] = {"size": _NAME_SIZE, "color": LINE, "va": "center", "bbox": box, "zorder": 3.5}
                look["ha"] = "left" if right > 0 else "right"
                look["arrowprops"] = None if (abs(right), up) == _OFFSETS[0] else thin
                axes.annotate(text, logits[at], (right, up), textcoords="offset points", **look)
                break


def _draw_family(axes: Axes, panel: Panel, results: Sequence[Result], marker: str, color: str) -> Artist:
    """Draw the models of a family, hollow where the curve under them is sparse or extrapolated."""
    points = [panel.point(result) for result in results]
    for result, (x, y) in zip(results, points, strict=True):
        images = result.size(panel.fits[0].shift.column)
        if len(panel.fits) == 1 and images is not None and exact_intervals_possible():
            ends = to_logits([(x, end) for end in clopper_pearson(y, images)])
            axes.plot(*ends, color=color, linewidth=1, zorder=3.9)
    sure = [point for point in points if not panel.mark(point[0])]
    doubtful = [point for point in points if panel.mark(point[0])]
    look: dict[str, Any] = {"color": color, "markersize": _SIZES.get(marker, 6), "zorder": 4}
    hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgewidth": 1.1}
    axes.plot(*to_logits(doubtful), marker, **hollow, **look)
    look |= {"markeredgecolor": "white", "markeredgewidth": 0.7}
    (handle,) = axes.plot(*to_logits(sure), marker, **look)
    return handle


def draw_baseline(axes: Axes, panel: Panel, x_limits: tuple[float, float]) -> dict[str, Artist]:
    """Draw a panel's curves, the models that they are fitted over, and y = x; return what the legend shows."""
    left, right = logit(x_limits).tolist()
    grid = np.linspace(left, right, 160)
    x = inverse_logit(grid)
    low, high = map(logit, panel.band(x))
    band = axes.fill_between(grid, low, high, color=LINE, alpha=0.22, linewidth=0, zorder=2)
    handles: dict[str, Artist] = {}
    ordinary = panel.scatter(x)
    if ordinary is not None:
        low, high = map(logit, ordinary)
        handles["95 % of ordinary trainings"] = axes.fill_between(
            grid, low, high, color=LINE, alpha=0.09, linewidth=0, zorder=1.8
        )
    curve, marks = logit(panel.predict(x)), np.array([panel.mark(value) for value in x])
    for mark, (text, dashes) in CURVES.items():
        here = marks == mark
        if mark and not here.any():
            continue
        here[1:] |= here[:-1]  # one step beyond it, so that parts meet
        shown = np.where(here, curve, np.nan)
        (line,) = axes.plot(grid, shown, color=LINE, linewidth=1.4, linestyle=dashes, zorder=3)
        handles[text.format(baseline=shortened(panel.fits[0].baseline, 24))] = line
    fitted = [model for model in panel.fits[0].models if all(model in fit.models for fit in panel.fits)]
    places = to_logits([panel.point(model) for model in fitted])
    (points,) = axes.plot(*places, ".", color="#B8B8B8", markersize=4.5, zorder=1.5)
    identity = draw_identity(axes, grid)
    if len(panel.fits) == 1:
        text = f"fit: n = {panel.fits[0].size}, r = {panel.fits[0].quality[0]:.4f}"
        text += f"\n{panel.note}" if panel.note else ""
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
        axes.annotate(text, (0.97, 0.04), xycoords="axes fraction", ha="right", color=LINE, size=8, bbox=box)
    name = _FITTED if panel.fits[0].baseline in BASELINES else _FITTED_OWN
    return {**handles, "its 95 % band": band, name: points, "y = x": identity}
