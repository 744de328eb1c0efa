"""The figure of trajectories: each run's way through the plane of the robustness figure, a panel for each shift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenet_captions.evaluation.robustness.baseline import fit_baseline
from imagenet_captions.evaluation.robustness.curves import inverse_logit
from imagenet_captions.evaluation.robustness.figure_panels import Panel, to_logits
from imagenet_captions.evaluation.robustness.figures import (
    HOLLOW,
    IDENTITY,
    STYLE,
    draw_baseline,
    legend_text,
    save_figure,
    set_axes,
)
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS
from imagenet_captions.evaluation.trajectories.trajectory import Trajectory, clean_column

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Place = tuple[float, float]

_MARKERS = "os^Dv<>PX*ph"
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")  # Okabe and Ito's
_MARGIN = 0.3  # logits around the places
_LABELS = {IMAGENET: "ImageNet", **{shift.column: shift.label for shift in SHIFTS}}


def draw_trajectories(trajectories: Sequence[Trajectory], names: Sequence[str], path: Path) -> None:
    """Draw every test set after the first of `names` against the first; the same input gives the same bytes.

    ImageNet's shifts have the curve of ordinary ImageNet models, as in the figure of `robustness`.
    """
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    clean, *shifts = names
    arms = list(dict.fromkeys(each.arm for each in trajectories))
    with matplotlib.style.context(["default", STYLE]):
        columns = min(3, len(shifts))
        rows = math.ceil(len(shifts) / columns)
        width = max(4.0 * columns + 0.4, 6.4)
        in_legend = max(1, min(4, int(width / (0.65 + 0.075 * max(30, *map(len, map(legend_text, arms)))))))
        height = 3.75 * rows + 0.4 + 0.2 * math.ceil((len(arms) + 7) / in_legend)
        figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        handles: dict[str, Artist] = {}
        all_axes = figure.subplots(rows, columns, squeeze=False)
        for axes, shift in zip(all_axes.flat, shifts, strict=False):
            handles |= _draw_panel(axes, trajectories, arms, (clean, shift))
        for axes in all_axes.flat[len(shifts) :]:
            axes.set_axis_off()
        texts = [legend_text(name.removesuffix(HOLLOW)) for name in handles]
        figure.legend(list(handles.values()), texts, loc="outside lower center", ncols=in_legend, frameon=False)
        save_figure(figure, path, path.suffix)


def _draw_panel(
    axes: Axes, trajectories: Sequence[Trajectory], arms: Sequence[str], sets: tuple[str, str]
) -> dict[str, Artist]:
    """Draw the runs under one shift, and return what the legend shows, by its name there."""
    clean, shift = sets
    x_column = clean_column(shift, clean, trajectories[0].steps[0].accuracies)
    ways = [[(step.accuracies[x_column][0], step.accuracies[shift][0]) for step in each.steps] for each in trajectories]
    x_limits, y_limits = _limits([place for way in ways for place in way])
    handles: dict[str, Artist] = {}
    for each, way in zip(trajectories, ways, strict=True):
        handles[each.arm] = _draw_way(axes, way, arms.index(each.arm))
    known = next((found for found in SHIFTS if found.column == shift), None)
    if known is not None and x_column in (IMAGENET, known.same_classes):
        panel = Panel(known.label, (fit_baseline("auto", known, x_column),), {})
        handles |= draw_baseline(axes, panel, x_limits)
    else:
        ends = to_logits([(end, end) for end in x_limits])
        (handles["y = x"],) = axes.plot(*ends, color=IDENTITY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    set_axes(axes, x_limits, y_limits)
    axes.set_title(_LABELS.get(shift, legend_text(shift)), fontweight="bold")
    same = ", same classes" if x_column != clean else ""
    axes.set_xlabel(f"{_LABELS.get(clean, legend_text(clean))}{same} (top-1, %)")
    axes.set_ylabel(f"{_LABELS.get(shift, legend_text(shift))} (top-1, %)")
    return handles


def _draw_way(axes: Axes, way: Sequence[Place], at: int) -> Artist:
    """Draw one run: a line with a dot for each checkpoint, and the arm's marker at the last one."""
    look: dict[str, Any] = {"color": _COLORS[at % len(_COLORS)], "zorder": 4}
    axes.plot(*to_logits(way), ".-", linewidth=1, markersize=4, alpha=0.75, **look)
    marker = _MARKERS[(at + at // len(_MARKERS)) % len(_MARKERS)]
    (last,) = axes.plot(
        *to_logits(way[-1:]), marker, markersize=7, markeredgecolor="white", markeredgewidth=0.7, **look
    )
    return last


def _limits(places: Sequence[Place]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends of both axes in percent, around all places."""
    ends = [inverse_logit([part.min() - _MARGIN, part.max() + _MARGIN]) for part in to_logits(places)]
    (left, right), (bottom, top) = (map(float, each) for each in ends)
    return (left, right), (bottom, top)
