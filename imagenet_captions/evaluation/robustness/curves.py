"""Curves of one logit over another: the straight line and the local curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagenet_captions.evaluation.intervals import Floats

SPAN = 0.3  # the share of the models that a local line is fitted over
_POINTS, _POINTS_OF_DRAWS = 1001, 201  # of the grid of a local curve
FARTHEST = 40.0  # logits beyond it are 0 % or 100 % to every digit


@dataclass(frozen=True, eq=False)
class Curves:
    """Curves that are straight between the points of a grid and beyond its ends; `values` has a row for each."""

    grid: Floats
    values: Floats

    def at(self, x: npt.ArrayLike) -> Floats:
        """Return the value of every curve at `x`, one place for all or one for each; a single curve takes many."""
        places = np.clip(np.asarray(x, dtype=np.float64), -FARTHEST, FARTHEST)
        cell = np.clip(np.searchsorted(self.grid, places) - 1, 0, len(self.grid) - 2)
        share = (places - self.grid[cell]) / (self.grid[cell + 1] - self.grid[cell])
        rows = np.arange(len(self.values))
        left, right = self.values[rows, cell], self.values[rows, cell + 1]
        return np.asarray(left + share * (right - left), dtype=np.float64)


def logit(percent: npt.ArrayLike) -> Floats:
    """Return the natural logarithm of p / (100 - p).

    >>> float(logit(50.0))
    0.0
    """
    values = np.asarray(percent, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values) - np.log(100.0 - values), dtype=np.float64)


def inverse_logit(value: npt.ArrayLike) -> Floats:
    """Return the percent whose logit this is; minus and plus infinity give 0 and 100."""
    with np.errstate(over="ignore"):
        return np.asarray(100.0 / (1.0 + np.exp(-np.asarray(value, dtype=np.float64))), dtype=np.float64)


def fit_lines(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return slopes and intercepts of weighted least squares, one line for each row of `weights`."""
    total = weights.sum(axis=1)
    x_mean, y_mean = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - x_mean * y_mean
    variance = weights @ (x * x) / total - x_mean * x_mean
    slopes = covariance / variance
    return slopes, y_mean - slopes * x_mean


def _straight(slopes: Floats, intercepts: Floats, ends: tuple[float, float]) -> Curves:
    """Return lines as curves."""
    grid = np.array(ends)
    return Curves(grid, slopes[:, None] * grid + intercepts[:, None])


def fit_local(x: Floats, y: Floats, weights: Floats, points: int) -> Curves:
    """Fit loess curves of degree 1 (Cleveland 1979), one for each row of `weights`, and make them rise.

    At each of `points` places, evenly spaced from the least `x` to the greatest, a line is fitted over the nearest
    `SPAN` of the models, which count less the farther they are (tricube). A curve that falls somewhere is replaced by
    its rearrangement, the same values in rising order, which lies nearer to any rising curve than the original does
    (Chernozhukov, Fernández-Val and Galichon 2009). The neighbors are those of all the models in every row.
    """
    grid = np.linspace(x.min(), x.max(), points)
    away = x - grid[:, None]
    near = _nearness(x, grid)
    moment = near * away
    total, first, second = (weights @ part.T for part in (near, moment, moment * away))
    level, tilt = weights @ (near * y).T, weights @ (moment * y).T
    spread = second * total - first**2
    with np.errstate(divide="ignore", invalid="ignore"):
        lines = (second * level - first * tilt) / spread
        means = level / total
    values = np.where(spread > 1e-9 * second * total, lines, means)  # models at a single place have no slope
    return Curves(grid, np.sort(values, axis=1))


def _nearness(x: Floats, grid: Floats) -> Floats:
    """Return how much each `x` counts at each place of the grid: tricube weights that end at the farthest neighbor."""
    away = np.abs(x - grid[:, None])
    neighbors = int(np.ceil(SPAN * len(x)))
    reach = np.partition(away, neighbors - 1, axis=1)[:, neighbors - 1 : neighbors]
    reach = np.maximum(reach * (1 + 1e-6), 1e-9)  # a hair farther, so that neighbors at one distance all count
    share = away / reach
    height = np.maximum(1 - share**2 * share, 0)
    return np.asarray(height**2 * height, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Shape:
    """A fitted curve, the curves of its bootstrap, and the correlation of its predictions with the models' values.

    A line has a `slope` and an `intercept`. A local curve has a `scatter`: how far the models around a place are from
    it, in logits.
    """

    curve: Curves
    draws: Curves
    r: float
    slope: float | None = None
    intercept: float | None = None
    scatter: Curves | None = None


def shape_line(x: Floats, y: Floats, weights: Floats) -> Shape:
    """Fit a straight line, and one for each row of `weights`."""
    ends = (x.min(), x.max())
    slope, intercept = fit_lines(x, y, np.ones((1, len(x))))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes, intercepts = fit_lines(x, y, weights)
    alone = ~np.isfinite(slopes)  # a draw of one model over and over has no line
    slopes, intercepts = np.where(alone, slope, slopes), np.where(alone, intercept, intercepts)
    return Shape(
        curve=_straight(slope, intercept, ends),
        draws=_straight(slopes, intercepts, ends),
        r=float(np.corrcoef(x, y)[0, 1]),
        slope=slope.item(),
        intercept=intercept.item(),
    )


def shape_local(x: Floats, y: Floats, weights: Floats) -> Shape:
    """Fit a local curve, and one for each row of `weights`."""
    curve = fit_local(x, y, np.ones((1, len(x))), _POINTS)
    draws = fit_local(x, y, weights, _POINTS_OF_DRAWS)
    near = _nearness(x, draws.grid)
    scatter = np.sqrt(near @ (y - curve.at(x)) ** 2 / near.sum(axis=1))
    r = float(np.corrcoef(curve.at(x), y)[0, 1])
    return Shape(curve, draws, r, scatter=Curves(draws.grid, scatter[None]))
