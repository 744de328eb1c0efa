"""The figure of a micro ablation: accuracy under each shift against accuracy without, and the line y = x."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_captions.ablations.micro.robustness import FEWEST, Floats, line_through, on_line
from imagenet_captions.evaluation.intervals import clopper_pearson
from imagenet_captions.evaluation.robustness.figure import check_figure_path, set_axes
from imagenet_captions.evaluation.robustness.fits import logit
from imagenet_captions.evaluation.robustness.tables import readable
from imagenet_captions.storage.files import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MEAN = "mean of the shifts"
_MARKERS = "os^Dv<>PX*ph"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")  # Okabe and Ito's
_LINE, _IDENTITY = "#444444", "#888888"
_EDGE = (0.2, 99.8)


@dataclass(frozen=True)
class Point:
    """One run's accuracies in percent by test set, each over `images` images."""

    arm: str
    accuracies: Mapping[str, float]
    images: int
    baseline: bool = False


def draw_shifts(points: Sequence[Point], clean: str, shifts: Sequence[str], path: Path) -> None:
    """Draw a panel for each shift and one for their mean, as PNG or SVG; the same points give the same bytes.

    The line through the baseline's points is drawn where there are three of them or more.
    """
    check_figure_path(path)
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    style: dict[str, Any] = {"svg.hashsalt": "imagenet-captions", "font.size": 9}
    style |= {"axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.style.context(["default", style]):
        panels = [*shifts, MEAN] if len(shifts) > 1 else list(shifts)
        arms = list(dict.fromkeys(point.arm for point in points))
        columns = 3 if max(map(len, arms)) < 34 else 2
        rows = math.ceil((len(arms) + 2) / columns)
        figure = Figure(
            figsize=(4.0 * len(panels) + 0.4, 4.2 + 0.2 * rows), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        )
        handles: dict[str, Artist] = {}
        for axes, shift in zip(figure.subplots(1, len(panels), squeeze=False).flat, panels, strict=True):
            handles |= _draw_panel(
                axes,
                [_with_mean(point, shifts) for point in points],
                arms,
                (clean, shift),
                shifts if shift == MEAN else [shift],
            )
        figure.legend(
            list(handles.values()),
            [readable(name, 60).replace("$", r"\$") for name in handles],
            loc="outside lower center",
            ncols=columns,
            frameon=False,
        )
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        with replacing(path) as partial:
            figure.savefig(partial, format=kind, dpi=160, metadata=metadata)


def _draw_panel(
    axes: Axes, points: Sequence[Point], arms: Sequence[str], sets: tuple[str, str], parts: Sequence[str]
) -> dict[str, Artist]:
    """Draw one panel, whose second set is `parts` or their mean, and return the entries of the legend."""
    clean, shift = sets
    places = {id(point): (point.accuracies[clean], point.accuracies[shift]) for point in points}
    x_limits, y_limits = (_limits([place[axis] for place in places.values()]) for axis in (0, 1))
    handles: dict[str, Artist] = {}
    for point in points:
        at = arms.index(point.arm)
        look: dict[str, Any] = {
            "color": _COLORS[at % len(_COLORS)],
            "marker": _MARKERS[at % len(_MARKERS)],
            "markersize": 6.5,
        }
        x, y = places[id(point)]
        ends = clopper_pearson(y, point.images) if shift != MEAN else (y, y)
        axes.plot(_logits([x, x]), _logits(ends), color=look["color"], linewidth=1, alpha=0.6, zorder=3)
        (handles[point.arm],) = axes.plot(
            _logits([x]), _logits([y]), linestyle="", markeredgecolor="white", zorder=4, **look
        )
    left, right = (float(end) for end in logit(x_limits))
    grid = np.linspace(left, right, 60)
    (handles["y = x: nothing is lost"],) = axes.plot(grid, grid, color=_IDENTITY, linewidth=1, linestyle=(0, (4, 3)))
    line = _line([point for point in points if point.baseline], clean, parts, 1 / (1 + np.exp(-grid)))
    if line is not None:
        (handles["line through the supervised runs"],) = axes.plot(grid, _logits(line), color=_LINE, linewidth=1.4)
    set_axes(axes, x_limits, y_limits)
    axes.set_title(shift, fontweight="bold")
    axes.set_xlabel(f"{clean} (top-1, %)")
    axes.set_ylabel(f"{shift} (top-1, %)")
    return handles


def _line(baseline: Sequence[Point], clean: str, shifts: Sequence[str], x: Floats) -> Floats | None:
    """Return the line through the baseline's points in percent; for several shifts, the mean of their lines."""
    at = np.array([point.accuracies[clean] for point in baseline]) / 100
    if len(at) < FEWEST or np.ptp(at) == 0:
        return None
    lines = [line_through(at, np.array([point.accuracies[shift] for point in baseline]) / 100) for shift in shifts]
    return np.asarray(100 * np.mean([on_line(line, x) for line in lines], axis=0), dtype=np.float64)


def _with_mean(point: Point, shifts: Sequence[str]) -> Point:
    mean = sum(point.accuracies[shift] for shift in shifts) / len(shifts)
    return replace(point, accuracies={**point.accuracies, MEAN: mean})


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = max(_EDGE[0], min(values) - 6), min(_EDGE[1], max(values) + 6)
    return low, high


def _logits(percent: Any) -> Any:
    return logit(np.clip(np.asarray(percent, np.float64), *_EDGE))
