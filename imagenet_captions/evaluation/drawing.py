"""What all figures share: one style, logit axes, legends, and files that are the same for the same input."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation.intervals import Floats
from imagenet_captions.evaluation.robustness.fits import logit
from imagenet_captions.storage.faults import require
from imagenet_captions.storage.files import replacing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

Point = tuple[float, float]

FORMATS = (".png", ".svg")
# Okabe and Ito's colors, which color-blind readers can tell apart; markers differ as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C564B")
MARKERS = "os^Dv<>PX*ph"
LINE, IDENTITY, GRID = "#444444", "#888888", "#E6E6E6"
_EDGE = (0.05, 99.95)  # where 0 % and 100 %, which have no logit, are drawn
_TICKS: tuple[Sequence[float], ...] = (  # of which the first with four on the axis is taken
    (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9),
    range(5, 100, 5),
    range(2, 100, 2),
    range(1, 100),
)
_STYLE: dict[str, Any] = {
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


@contextmanager
def new_figure(
    path: Path, suffix: str, shape: tuple[int, int], size: tuple[float, float]
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Yield a figure with rows and columns of panels, and write it at the end; the same input gives the same bytes.

    `suffix` is .png or .svg. A warning tells of letters that the font lacks.
    """
    import matplotlib.style
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    kind = suffix.lower().removeprefix(".")
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    with matplotlib.style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
        yield figure, list(figure.subplots(*shape, squeeze=False).flat)
        with replacing(path) as partial, warnings.catch_warnings(record=True) as raised:
            warnings.filterwarnings("always", message="Glyph .* missing")
            figure.savefig(partial, format=kind, dpi=160, metadata=metadata)
    if raised:
        log.warning("note: the font of the figure lacks letters of a name, which are drawn as boxes")


@contextmanager
def logit_panels(
    path: Path, suffix: str, count: int, names: Sequence[str]
) -> Iterator[tuple[list[Axes], dict[str, Artist]]]:
    """Yield `count` panels, three in a row, and a dictionary for the legend; `names` are those that it may hold."""
    columns, rows = min(3, count), math.ceil(count / 3)
    width = max(4.0 * columns + 0.4, 6.4)
    longest = max(len(legend_text(name)) for name in names)
    in_legend = max(1, min(4, int(width / (0.65 + 0.075 * longest))))
    height = 3.75 * rows + 0.4 + 0.2 * math.ceil(len(names) / in_legend)
    handles: dict[str, Artist] = {}
    with new_figure(path, suffix, (rows, columns), (width, height)) as (figure, axes):
        yield axes[:count], handles
        for empty in axes[count:]:
            empty.set_axis_off()
        add_legend(figure, handles, in_legend)


def add_legend(figure: Figure, handles: Mapping[str, Artist], columns: int) -> None:
    """Write the legend below the panels."""
    texts = [legend_text(name) for name in handles]
    look: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "frameon": False}
    figure.legend(list(handles.values()), texts, **look)


def legend_text(name: str) -> str:
    """Return a name escaped for matplotlib, which reads dollars as formulas and hides a leading underscore."""
    short = shortened(name, 40)
    return ("\u2009" if short.startswith("_") else "") + short.replace("$", r"\$")


def draw_identity(axes: Axes, places: ArrayLike) -> Artist:
    """Draw the line y = x."""
    (line,) = axes.plot(places, places, color=IDENTITY, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    return line


def to_logits(points: Sequence[Point]) -> tuple[Floats, Floats]:
    """Return the coordinates of points in percent; 0 % and 100 % are drawn near the edge."""
    clipped = np.clip(np.array(points, dtype=np.float64).reshape(-1, 2), *_EDGE)
    return logit(clipped[:, 0]), logit(clipped[:, 1])


def set_axes(axes: Axes, title: str, x_name: str, y_name: str, x_limits: Point, y_limits: Point) -> None:
    """Give a panel its title and a grid, and both axes, which are logits, their names, ends and round percentages."""
    axes.set_title(title, fontweight="bold")
    axes.set_xlabel(f"{x_name} (top-1, %)")
    axes.set_ylabel(f"{y_name} (top-1, %)")
    for axis, (low, high) in ((axes.xaxis, x_limits), (axes.yaxis, y_limits)):
        ticks: list[float] = []
        for choice in _TICKS:
            ticks = [tick for tick in choice if low <= tick <= high]
            if len(ticks) >= 4:
                break
        axis.set_ticks(list(logit(ticks)), [f"{tick:g}" for tick in ticks])
    axes.set_xlim(*logit(x_limits).tolist())
    axes.set_ylim(*logit(y_limits).tolist())
    add_grid(axes)


def add_grid(axes: Axes, axis: Any = "both") -> None:
    """Draw a grid below everything else."""
    axes.grid(axis=axis, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
