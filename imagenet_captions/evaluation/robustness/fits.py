"""Baselines: other models' accuracy under shift, as a curve over one accuracy or a plane over several, in logits.

The curve of `auto` is local. The published baselines are lines over the accuracy on ImageNet, and several ID test sets
(Shi et al., NeurIPS 2023, arXiv 2302.01381) give a plane. Accuracies are in percent throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import compress

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import DRAWS, Floats, draw_accuracies
from imagenet_captions.evaluation.robustness.tables import (
    IMAGENET,
    IMAGES,
    SHIFTS,
    Result,
    Results,
    Shift,
    read_testbed,
)

BASELINES = ("auto", "standard", "imagenet-only")
SPARSE, EXTRAPOLATED = "sparse", "extrapolated"
BIN = 10  # points of the x axis in which the models of a fit are counted
LEAST_IN_BIN = 5  # models from which a bin tells how well a curve fits there
SPAN = 0.3  # the share of the models that a local line is fitted over
FARTHEST = 40.0  # logits beyond it are 0 % or 100 % to every digit
POINTS, POINTS_OF_DRAWS = 1001, 201  # of the grid of a local curve
_LEAST_PER_SET, _LEAST_FOR_A_CURVE = 5, 50  # models
_MOST_EXPLAINED = 0.999  # of an ID set's variance by the others: above it, the coefficients are arbitrary
_WORST_CONDITION = 1e12  # of a draw's equations; a draw of few distinct models has no plane
_LEAST_STANDARD = 55.0  # the testbed's own plots fit the models of at least so many percent
# Retrained or cut-down copies, which the testbed leaves out too.
_REPEATED_RUNS = ("aws", "batch64", "subsample")


class NoFitError(InputError):
    """Raised when the models of a baseline do not determine a curve for a shift."""


def logit(percent: npt.ArrayLike) -> Floats:
    """Return the natural logarithm of p / (100 - p)."""
    values = np.asarray(percent, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values) - np.log(100.0 - values), dtype=np.float64)


def inverse_logit(value: npt.ArrayLike) -> Floats:
    """Return the percent whose logit this is; minus and plus infinity give 0 and 100."""
    with np.errstate(over="ignore"):
        odds = np.exp(-np.asarray(value, dtype=np.float64))
        return np.asarray(100.0 / (1.0 + odds), dtype=np.float64)


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


@dataclass(frozen=True, eq=False)
class Planes:
    """Linear functions of one input or several; a row of `coefficients` is an intercept and a slope for each input."""

    coefficients: Floats

    def at(self, x: npt.ArrayLike) -> Floats:
        """Return the value of every plane at `x`, as `Curves.at`; the last axis of several inputs holds them."""
        places = np.clip(np.asarray(x, dtype=np.float64), -FARTHEST, FARTHEST)
        intercepts, slopes = self.coefficients[:, 0], self.coefficients[:, 1:]
        if slopes.shape[1] == 1:
            places = places[..., None]
        return np.asarray(intercepts + (slopes * places).sum(axis=-1), dtype=np.float64)


def fit_planes(x: Floats, y: Floats, weights: Floats) -> Planes:
    """Fit by weighted least squares, once for each row of `weights`; one without a plane takes that of all models."""
    design = np.column_stack([np.ones(len(y)), x])
    found: Floats = np.tile(np.linalg.lstsq(design, y, rcond=None)[0], (len(weights), 1))
    left = np.einsum("dn,ni,nj->dij", weights, design, design)
    right = weights @ (design * y[:, None])
    sound = np.linalg.cond(left) < _WORST_CONDITION
    found[sound] = np.linalg.solve(left[sound], right[sound][..., None])[..., 0]
    return Planes(found)


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
    # Models at a single place have no slope.
    values = np.where(spread > 1e-9 * second * total, lines, means)
    return Curves(grid, np.sort(values, axis=1))


def _nearness(x: Floats, grid: Floats) -> Floats:
    """Return how much each `x` counts at each place of the grid: tricube weights that end at the farthest neighbor."""
    away = np.abs(x - grid[:, None])
    neighbors = int(np.ceil(SPAN * len(x)))
    reach = np.partition(away, neighbors - 1, axis=1)[:, neighbors - 1 : neighbors]
    # A hair farther, so that neighbors at one distance all count.
    reach = np.maximum(reach * (1 + 1e-6), 1e-9)
    share = away / reach
    height = np.maximum(1 - share**2 * share, 0)
    return np.asarray(height**2 * height, dtype=np.float64)


def local_scatter(x: Floats, y: Floats, curve: Curves, grid: Floats) -> Curves:
    """Return how far the models around a place are from the curve, in logits."""
    near = _nearness(x, grid)
    scatter = np.sqrt(near @ (y - curve.at(x)) ** 2 / near.sum(axis=1))
    return Curves(grid, scatter[None])


@dataclass(frozen=True, eq=False)
class Baseline:
    """The models that a baseline is fitted to, and whether by local curves, if there are enough, or linearly."""

    name: str
    models: tuple[Result, ...]
    local: bool
    over: str


@cache
def named_baseline(name: str) -> Baseline:
    """Return a baseline of the testbed (Taori et al. 2020): `auto`, or one of the two published definitions.

    >>> [len(named_baseline(name).models) for name in BASELINES]
    [195, 85, 195]
    """
    over = {
        "auto": "local curves in logit space over standard and low-accuracy ImageNet models",
        "standard": "lines in logit space over standard ImageNet models of at least 55 %",
        "imagenet-only": "lines in logit space over standard and low-accuracy ImageNet models, down to 0 %",
    }
    if name not in over:
        raise InputError(f"the baseline must be one of {', '.join(BASELINES)}, not {name!r:.40}")
    types = ("standard",) if name == "standard" else ("standard", "low_accuracy_cnn")
    least = _LEAST_STANDARD if name == "standard" else 0.0
    models = tuple(
        result
        for result in read_testbed().rows
        if result.training in types
        and not any(word in result.model for word in _REPEATED_RUNS)
        and result.accuracies.get(IMAGENET, -1.0) >= least
    )
    return Baseline(name, models, name == "auto", over[name])


def own_baseline(table: Results, name: str) -> Baseline:
    """Return a baseline of the models of a table, which `name` says in a sentence."""
    return Baseline(name, table.rows, True, f"in logit space over the models of {name}")


@dataclass(frozen=True, eq=False)
class Fit:
    """A baseline's curve or plane for one shift, which predicts from `columns`, and the models that it is fitted to.

    Draw k is the same sample of models in every curve of a baseline. `left_out` names models at 0 % or 100 %, which
    have no logit. A local curve has a `scatter`.
    """

    baseline: str
    shift: Shift
    columns: tuple[str, ...]
    models: tuple[Result, ...]
    left_out: tuple[str, ...]
    curve: Curves | Planes
    draws: Curves | Planes
    scatter: Curves | None = None

    def predict(self, *accuracies: float) -> float:
        """Return the accuracy under shift of an ordinary model with these accuracies, in the order of the columns."""
        return inverse_logit(self.curve.at(logit(accuracies))).item()

    def predict_all(self, x: npt.ArrayLike) -> Floats:
        """Return the same for many accuracies of one column."""
        return inverse_logit(self.curve.at(logit(x)))

    def predict_draws(self, accuracies: npt.ArrayLike) -> Floats:
        """Return the same by every curve of the bootstrap, for one accuracy, or one for each draw.

        Where a local curve has few models in a bin or none, the draws also carry the standard error of the mean of so
        few: no more than these say where the curve must pass.
        """
        predicted = self.draws.at(logit(accuracies))
        if self.scatter is not None:
            x = np.asarray(accuracies, dtype=np.float64)
            (low,), (high,) = self.ranges
            inside = (x >= low) & (x <= high)
            bins = np.minimum(x // BIN, 100 // BIN - 1).astype(int)
            models = np.where(inside, np.array(self.bin_counts)[bins], 0)
            scatter = self.scatter.at(logit(np.clip(x, low, high))).reshape(x.shape)
            error = scatter / np.sqrt(np.maximum(models, 1))
            predicted = predicted + _errors() * np.where(models >= LEAST_IN_BIN, 0.0, error)
        return inverse_logit(predicted)

    def mark(self, *accuracies: float) -> str:
        """Return `extrapolated` beyond the models of the fit, `sparse` where a local curve has few of them, or ''."""
        for at, low, high in zip(accuracies, *self.ranges, strict=True):
            if not low <= at <= high:
                return EXTRAPOLATED
        few = self.local and self.bin_counts[bin_of(accuracies[0])] < LEAST_IN_BIN
        return SPARSE if few else ""

    @property
    def x_column(self) -> str:
        """The first of the columns."""
        return self.columns[0]

    @property
    def n(self) -> int:
        """The number of models in the fit."""
        return len(self.models)

    @property
    def local(self) -> bool:
        """Whether the curve is local; otherwise it is a straight line or a plane."""
        return self.scatter is not None

    @property
    def coefficients(self) -> list[float]:
        """The intercept and the slopes of a line or plane; nothing for a local curve."""
        return self.curve.coefficients[0].tolist() if isinstance(self.curve, Planes) else []

    @property
    def same_classes(self) -> bool:
        """Whether it predicts from accuracies on the shift's own classes."""
        ending = self.shift.on_own_classes("")
        return ending != "" and self.x_column.endswith(ending)

    @cached_property
    def x(self) -> Floats:
        """The accuracies that it is fitted over, [models, columns]."""
        return np.array([model.row(self.columns) for model in self.models])

    @cached_property
    def ranges(self) -> tuple[list[float], list[float]]:
        """The lowest and the highest accuracies of the models in the fit, in the order of the columns."""
        return self.x.min(axis=0).tolist(), self.x.max(axis=0).tolist()

    @cached_property
    def bin_counts(self) -> list[int]:
        """The number of models of the fit in each 10-point bin of the x axis."""
        bins = [bin_of(accuracy) for accuracy in self.x[:, 0].tolist()]
        return [bins.count(number) for number in range(100 // BIN)]

    @cached_property
    def quality(self) -> tuple[float, float, float]:
        """Correlation and R² of prediction and accuracy, in logits, and the mean absolute error in points."""
        accuracies = np.array([model.accuracies[self.shift.column] for model in self.models])
        y, predicted = logit(accuracies), self.curve.at(logit(self.x.squeeze()))
        r2 = 1 - float(((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())
        error = float(np.abs(accuracies - inverse_logit(predicted)).mean())
        return float(np.corrcoef(predicted, y)[0, 1]), r2, error

    def describe(self) -> str:
        """Return how well it describes its models."""
        _, r2, error = self.quality
        return f"n {self.n}, R² {r2:.4f}, MAE {error:.2f} points"


def bin_of(accuracy: float) -> int:
    """Return the number of the 10-point bin that an accuracy falls into."""
    return min(int(accuracy // BIN), 100 // BIN - 1)


def fit_baseline(name: str, shift: Shift, x_column: str) -> Fit:
    """Fit one curve of a baseline of the testbed."""
    return fit_models(named_baseline(name), shift, (x_column,))


@cache
def fit_models(baseline: Baseline, shift: Shift, columns: tuple[str, ...]) -> Fit:
    """Fit one curve of a baseline, or a plane; raises NoFitError if its models do not determine one."""
    wanted = (*columns, shift.column)
    found = np.array([model.row(wanted) for model in baseline.models])
    known = np.all(np.isfinite(found), axis=1)
    used = np.all((found > 0) & (found < 100), axis=1)
    x, y = logit(found[used, :-1]), logit(found[used, -1])
    _check(baseline.name, wanted, x, y)
    weights = resamples(len(used))[:, used] if len(columns) == 1 else resamples(len(y))
    alone = np.ones((1, len(y)))
    curve: Curves | Planes
    draws: Curves | Planes
    scatter = None
    if baseline.local and len(columns) == 1 and len(y) >= _LEAST_FOR_A_CURVE:
        x = x[:, 0]
        curve, draws = fit_local(x, y, alone, POINTS), fit_local(x, y, weights, POINTS_OF_DRAWS)
        scatter = local_scatter(x, y, curve, draws.grid)
    else:
        curve, draws = fit_planes(x, y, alone), fit_planes(x, y, weights)
    return Fit(
        baseline=baseline.name,
        shift=shift,
        columns=columns,
        models=tuple(compress(baseline.models, used)),
        left_out=tuple(model.model for model in compress(baseline.models, known & ~used)),
        curve=curve,
        draws=draws,
        scatter=scatter,
    )


def on_first_column(fit: Fit) -> Fit:
    """Return the line of the same models on the first of a plane's columns alone, without draws of its own."""
    y = logit([model.accuracies[fit.shift.column] for model in fit.models])
    line = fit_planes(logit(fit.x[:, 0]), y, np.ones((1, fit.n)))
    return replace(fit, columns=fit.columns[:1], curve=line, draws=line)


def _check(name: str, wanted: tuple[str, ...], x: Floats, y: Floats) -> None:
    """Refuse models that do not determine a baseline; those of the testbed always do."""
    *ids, column = wanted
    least = _LEAST_PER_SET * len(ids)
    if len(y) < least:
        what = "a baseline" if len(ids) == 1 else f"a fit on {len(ids)} `id_sets`"
        raise NoFitError(
            f"{name} has {len(y)} models with {', '.join(ids)} and {column} above 0 and below 100 %; "
            f"{what} takes {least}; add models, or give another table of them"
        )
    if len(ids) == 1:
        if np.ptp(x) < 1e-9 or np.polyfit(x[:, 0], y, 1)[0] <= 0:
            raise NoFitError(f"{column} does not rise with {ids[0]} in {name}; so it cannot be a baseline for it")
        return
    for at, id_set in enumerate(ids):
        own, others = x[:, at], np.column_stack([np.ones(len(x)), np.delete(x, at, axis=1)])
        left = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        if left @ left <= (1 - _MOST_EXPLAINED) * len(own) * own.var() or np.ptp(own) < 1e-9:
            raise NoFitError(
                f"the accuracies on {id_set} follow from those on the other `id_sets` in {name}, "
                "so their shares cannot be told apart; "
                f"leave {id_set} out, or add models of other training data"
            )


@cache
def resamples(models: int) -> Floats:
    """Return how often each model is drawn in each draw of the bootstrap (seeded)."""
    generator = np.random.default_rng(0)
    return generator.multinomial(models, np.full(models, 1 / models), size=DRAWS).astype(np.float64)


@cache
def _errors() -> Floats:
    """Return how many standard errors each draw's curve is off where it has few models; the same in every fit."""
    return np.random.default_rng(2).standard_normal(DRAWS)


def draw_columns(result: Result, columns: Sequence[str]) -> Floats:
    """Return a model's accuracies on test sets drawn anew, [draws, columns]; sets of unknown size are not drawn."""
    names = list(IMAGES)
    drawn = []
    for place, column in enumerate(columns):
        size, percent = result.size(column), result.accuracies[column]
        seed = names.index(column) if column in names else len(names) + place
        none = np.full(DRAWS, percent)
        drawn.append(none if size is None else draw_accuracies(percent, size, seed))
    return np.stack(drawn, axis=1)


# The standard baseline's lines, of which Sketch's coefficients stand in public code too: slope, intercept, r, n.
REFERENCE = {
    (IMAGENET, "imagenet-v2"): (0.923229, -0.497690, 0.9980, 85),
    (IMAGENET, "imagenet-sketch"): (1.070915, -2.370073, 0.9322, 85),
    ("imagenet_on_r_classes", "imagenet-r"): (0.636844, -2.107716, 0.9431, 80),
    ("imagenet_on_objectnet_classes", "objectnet"): (0.980910, -1.928289, 0.9760, 85),
    ("imagenet_on_a_classes", "imagenet-a"): (1.990006, -7.632477, 0.9098, 84),
    (IMAGENET, "imagenet-r"): (0.911591, -1.599916, 0.9366, 80),
    (IMAGENET, "objectnet"): (1.199268, -2.024251, 0.9701, 85),
    (IMAGENET, "imagenet-a"): (3.051639, -6.291670, 0.8792, 84),
}


@cache
def check_reference() -> None:
    """Fail if the shipped testbed no longer gives the known lines: a damaged file must not become a finding."""
    by_column = {shift.column: shift for shift in SHIFTS}
    for (x_column, column), (slope, intercept, r, n) in REFERENCE.items():
        fit = fit_baseline("standard", by_column[column], x_column)
        found = np.array([*fit.coefficients, fit.quality[0], fit.n])
        if (abs(found - [intercept, slope, r, n]) > [1e-5, 1e-5, 1e-4, 0]).any():
            raise InputError(
                "the testbed that came with the package gives a wrong line for "
                f"{column} (slope {found[1]:.6f} instead of {slope}); "
                "its file is damaged, install the package again"
            )
