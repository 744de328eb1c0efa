"""The figure of per-class accuracy against frequency: a row of panels for each test set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagenet_captions.evaluation.frequency.measure import FREQUENCIES, IMAGES, ClassRow, FrequencyReport, Relation
from imagenet_captions.evaluation.robustness.figures import STYLE, legend_text, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = {True: "#0072B2", False: "#D55E00"}  # Okabe and Ito's; of images, and of mentions
_LINE = "#444444"


def draw_frequency(report: FrequencyReport, path: Path, kind: str) -> None:
    """Draw a point for each class that occurs, and the line; the same input gives the same bytes."""
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    names = list(dict.fromkeys(found.test_set for found in report.relations))
    with matplotlib.style.context(["default", STYLE]):
        layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(4.0 * len(FREQUENCIES) + 0.4, 3.4 * len(names)), layout=layout)
        all_axes = figure.subplots(len(names), len(FREQUENCIES), squeeze=False)
        for axes, found in zip(all_axes.flat, report.relations, strict=True):
            _draw_panel(axes, found, [row for row in report.rows if row.test_set == found.test_set])
        save_figure(figure, path, kind)


def _draw_panel(axes: Axes, found: Relation, rows: Sequence[ClassRow]) -> None:
    counts = np.array([getattr(row, found.frequency) for row in rows], np.float64)
    accuracies = np.array([row.accuracy for row in rows])
    occurs = counts > 0
    color = _COLORS[found.frequency == IMAGES]
    opacity = 0.9 if occurs.sum() <= 100 else 0.35
    axes.plot(counts[occurs], accuracies[occurs], "o", color=color, markersize=4, markeredgewidth=0, alpha=opacity)
    axes.set_xscale("log")
    if found.slope is not None and found.intercept is not None:
        ends = np.array([counts[occurs].min(), counts[occurs].max()])
        axes.plot(ends, found.intercept + found.slope * np.log10(ends), color=_LINE, linewidth=1.4)
    axes.set_ylim(-3, 125)  # room for the text above 100 %
    axes.set_yticks(range(0, 101, 20))
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.annotate(_summary(found), (0.03, 0.97), xycoords="axes fraction", va="top", size=8, color=_LINE)
    axes.set_title(legend_text(found.test_set), fontweight="bold")
    axes.set_xlabel(f"{FREQUENCIES[found.frequency]} (number)")
    axes.set_ylabel("accuracy of the class (top-1, %)")


def _summary(found: Relation) -> str:
    classes = f"n = {found.classes:,}" + (f", of which {found.absent:,} never" if found.absent else "")
    parts = ["Spearman undefined" if found.spearman is None else f"Spearman {found.spearman:+.2f}"]
    parts += [] if found.slope is None else [f"{found.slope:+.1f} points per tenfold"]
    return "\n".join(filter(None, [classes, ", ".join(parts)]))
