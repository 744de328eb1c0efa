"""The figure of a micro ablation: accuracy under each shift against accuracy without, and the line y = x."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from imagenet_captions.ablations.micro_robustness import line_through, on_line
from imagenet_captions.evaluation.baseline import logit
from imagenet_captions.evaluation.figures import check_figure_path, choose_ticks
from imagenet_captions.evaluation.intervals import clopper_pearson
from imagenet_captions.evaluation.results import readable
from imagenet_captions.files import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

_MARKERS = "os^Dv<>PX*ph"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")  # Okabe and Ito's
_LINE, _IDENTITY = "#444444", "#888888"
_EDGE = (0.2, 99.8)


@dataclass(frozen=True)
class Point:
    """One run's accuracies in percent by test set, over so many images each."""

    arm: str
    accuracies: Mapping[str, float]
    images: int
    baseline: bool = False


def draw_shifts(points: Sequence[Point], clean: str, shifts: Sequence[str], path: Path) -> None:
    """Draw a panel for each shift, as PNG or SVG; the same points give the same bytes.

    The line through the baseline's points is drawn where there are three of them or more.
    """
    check_figure_path(path)
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    style: dict[str, Any] = {"svg.hashsalt": "imagenet-captions", "font.size": 9}
    style |= {"axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.style.context(["default", style]):
        arms = list(dict.fromkeys(point.arm for point in points))
        columns = 3 if max(map(len, arms)) < 34 else 2
        rows = math.ceil((len(arms) + 2) / columns)
        figure = Figure(
            figsize=(4.0 * len(shifts) + 0.4, 4.2 + 0.2 * rows), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        )
        handles: dict[str, Artist] = {}
        for axes, shift in zip(figure.subplots(1, len(shifts), squeeze=False).flat, shifts, strict=True):
            handles |= _draw_panel(axes, points, arms, (clean, shift))
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


def _draw_panel(axes: Axes, points: Sequence[Point], arms: Sequence[str], sets: tuple[str, str]) -> dict[str, Artist]:
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
        ends = clopper_pearson(y, point.images)
        axes.plot(_logits([x, x]), _logits(ends), color=look["color"], linewidth=1, alpha=0.6, zorder=3)
        (handles[point.arm],) = axes.plot(
            _logits([x]), _logits([y]), linestyle="", markeredgecolor="white", zorder=4, **look
        )
    left, right = (float(end) for end in logit(x_limits))
    grid = np.linspace(left, right, 60)
    (handles["y = x: nothing is lost"],) = axes.plot(grid, grid, color=_IDENTITY, linewidth=1, linestyle=(0, (4, 3)))
    base = np.array([places[id(point)] for point in points if point.baseline]).reshape(-1, 2) / 100
    if len(base) >= 3 and np.ptp(base[:, 0]) > 0:
        line = on_line(line_through(base[:, 0], base[:, 1]), 1 / (1 + np.exp(-grid)))
        (handles["line through the supervised runs"],) = axes.plot(
            grid, _logits(100 * line), color=_LINE, linewidth=1.4
        )
    for axis, limits in ((axes.xaxis, x_limits), (axes.yaxis, y_limits)):
        ticks = choose_ticks(*limits)
        axis.set_ticks(list(logit(ticks)), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(*(float(end) for end in logit(x_limits)))
    axes.set_ylim(*(float(end) for end in logit(y_limits)))
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(shift, fontweight="bold")
    axes.set_xlabel(f"{clean} (top-1, %)")
    axes.set_ylabel(f"{shift} (top-1, %)")
    return handles


def _limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = max(_EDGE[0], min(values) - 6), min(_EDGE[1], max(values) + 6)
    return low, high


def _logits(percent: Any) -> Any:
    return logit(np.clip(np.asarray(percent, np.float64), *_EDGE))
