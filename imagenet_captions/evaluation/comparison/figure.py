"""The figure of comparisons: each difference with its interval, over the differences too small to be found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imagenet_captions.evaluation.comparison.compare import Comparison
from imagenet_captions.evaluation.robustness.figures import STYLE, check_figure_path, legend_text, save_figure

__all__ = ["check_figure_path", "draw_comparisons"]

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "osD^vPX"
_TOO_SMALL = "#E3E3E3"


def draw_comparisons(found: Sequence[Comparison], path: Path, kind: str) -> None:
    """Draw a row for each test set and model; the same input gives the same bytes. `kind` is .png or .svg."""
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    sets = list(dict.fromkeys(each.test_set for each in found))
    models = list(dict.fromkeys(each.second for each in found))
    step = 0.8 / len(models)
    with matplotlib.style.context(["default", STYLE]):
        height = 1.5 + 0.25 * len(models) + max(0.35, 0.22 * len(models)) * len(sets)
        figure = Figure(figsize=(7.0, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        axes = figure.subplots()
        handles: dict[str, Any] = {}
        for each in found:
            number = models.index(each.second)
            row = sets.index(each.test_set) + (number - (len(models) - 1) / 2) * step
            color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)]
            band = axes.barh(row, 2 * each.detectable, 0.9 * step, left=-each.detectable, color=_TOO_SMALL, zorder=1)
            axes.plot(each.interval, (row, row), color=color, linewidth=1.5, zorder=3)
            (handles[legend_text(each.second)],) = axes.plot(each.difference, row, marker, color=color, zorder=4)
        handles["below the smallest detectable difference"] = band
        axes.axvline(0, color="#444444", linewidth=1, zorder=2)
        axes.set_yticks(range(len(sets)), [legend_text(name) for name in sets])
        axes.invert_yaxis()
        axes.set_xlabel(f"top-1 minus that of {legend_text(found[0].first)} (percentage points, 95 %)")
        axes.grid(axis="x", color="#E6E6E6", linewidth=0.6)
        axes.set_axisbelow(True)
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2, frameon=False)
        save_figure(figure, path, kind)
