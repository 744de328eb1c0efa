"""Baselines: the accuracy of other models under shift, as a curve over one accuracy or a plane over several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import DRAWS, Floats, draw_accuracies
from imagenet_captions.evaluation.robustness.tables import (
    IMAGENET,
    SHIFTS,
    Result,
    Results,
    Shift,
    accuracy_columns,
    read_testbed,
)

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


BASELINES = ("auto", "standard", "imagenet-only")
LEAST_STANDARD = 55.0  # the testbed's own plots fit the models of at least so many percent
_REPEATED_RUNS = ("aws", "batch64", "subsample")  # retrained or cut-down copies, which the testbed leaves out too


@dataclass(frozen=True)
class Baseline:
    """The models that a baseline is fitted to, and whether by local curves, if there are enough, or by lines."""

    name: str
    models: tuple[Result, ...]
    local: bool
    over: str


@cache
def named_baseline(name: str) -> Baseline:
    """Return a baseline of the testbed: `auto`, or one of the two published definitions.

    >>> [len(named_baseline(name).models) for name in BASELINES]
    [195, 85, 195]
    """
    if name not in BASELINES:
        raise InputError(f"the baseline must be one of {', '.join(BASELINES)}, not {name!r:.40}")
    types = ("standard",) if name == "standard" else ("standard", "low_accuracy_cnn")
    least = LEAST_STANDARD if name == "standard" else 0.0
    models = tuple(
        result
        for result in read_testbed().rows
        if result.training in types
        and not any(word in result.model for word in _REPEATED_RUNS)
        and result.accuracies.get(IMAGENET, -1.0) >= least
    )
    over = {
        "auto": "local curves in logit space over standard and low-accuracy ImageNet models",
        "standard": "lines in logit space over standard ImageNet models of at least 55 %",
        "imagenet-only": "lines in logit space over standard and low-accuracy ImageNet models, down to 0 %",
    }
    return Baseline(name, models, name == "auto", over[name])


def own_baseline(table: Results, name: str) -> Baseline:
    """Return a baseline of the models of a table, which `name` says in a sentence."""
    return Baseline(name, table.rows, True, f"in logit space over the models of {name}")


BIN = 10  # points of the x axis over which the residuals of a fit are averaged
LEAST_IN_BIN = 5  # models from which a bin tells how well a curve fits there
SPARSE, EXTRAPOLATED = "sparse", "extrapolated"
_LEAST_FOR_A_LINE = 5
_LEAST_FOR_A_CURVE = 50


class NoFitError(InputError):
    """Raised when the models of a baseline do not determine a curve for a shift."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A baseline's curve for one shift, with the models that it is fitted to.

    `x_column` is the ImageNet accuracy that it predicts from, and `models` are those of the fit; draw k of its shape is
    the same sample of models in every fit of a baseline. `left_out` names models at 0 % or 100 %, which have no logit.
    """

    baseline: str
    shift: Shift
    x_column: str
    models: tuple[Result, ...]
    left_out: tuple[str, ...]
    shape: Shape

    def predict(self, imagenet: float) -> float:
        """Return the accuracy under shift of an ordinary model with this ImageNet accuracy."""
        return inverse_logit(self.shape.curve.at(logit(imagenet))).item()

    def predict_all(self, imagenet: Floats) -> Floats:
        """Return the same for many accuracies."""
        return inverse_logit(self.shape.curve.at(logit(imagenet)))

    def predict_draws(self, imagenet: npt.ArrayLike) -> Floats:
        """Return the same by every curve of the bootstrap; `imagenet` is one accuracy, or one for each draw.

        Where a local curve has few models in a bin or none, the draws also carry the standard error of the mean of so
        few: no more than these say where the curve must pass.
        """
        doubt = self._doubt(np.asarray(imagenet, dtype=np.float64))
        return inverse_logit(self.shape.draws.at(logit(imagenet)) + _errors() * doubt)

    def mark(self, imagenet: float) -> str:
        """Return `extrapolated` beyond the models of the fit, `sparse` where a local curve has few of them, or ''."""
        if not self.lowest <= imagenet <= self.highest:
            return EXTRAPOLATED
        few = self.shape.scatter is not None and self.bin_counts[bin_of(imagenet)] < LEAST_IN_BIN
        return SPARSE if few else ""

    @property
    def n(self) -> int:
        """The number of models in the fit."""
        return len(self.models)

    @property
    def local(self) -> bool:
        """Whether the curve is local; otherwise it is a straight line."""
        return self.shape.scatter is not None

    @property
    def same_classes(self) -> bool:
        """Whether it predicts from the ImageNet accuracy on the shift's own classes."""
        return self.x_column != IMAGENET

    @cached_property
    def lowest(self) -> float:
        """The lowest ImageNet accuracy in the fit."""
        return min(model.accuracies[self.x_column] for model in self.models)

    @cached_property
    def highest(self) -> float:
        """The highest ImageNet accuracy in the fit."""
        return max(model.accuracies[self.x_column] for model in self.models)

    @cached_property
    def bin_counts(self) -> Sequence[int]:
        """The number of models of the fit in each 10-point bin of the x axis."""
        bins = [bin_of(model.accuracies[self.x_column]) for model in self.models]
        return [bins.count(number) for number in range(100 // BIN)]

    def _doubt(self, imagenet: Floats) -> Floats:
        """Return the standard error in logits that the number of models in a bin leaves."""
        if self.shape.scatter is None:
            return np.zeros_like(imagenet)
        inside = (imagenet >= self.lowest) & (imagenet <= self.highest)
        bins = np.minimum(imagenet // BIN, 100 // BIN - 1).astype(int)
        models = np.where(inside, np.array(self.bin_counts)[bins], 0)
        scatter = self.shape.scatter.at(logit(np.clip(imagenet, self.lowest, self.highest))).reshape(imagenet.shape)
        return np.where(models >= LEAST_IN_BIN, 0.0, scatter / np.sqrt(np.maximum(models, 1)))


def bin_of(imagenet: float) -> int:
    """Return the number of the 10-point bin that an accuracy falls into.

    >>> bin_of(79.9), bin_of(80.0), bin_of(100.0)
    (7, 8, 9)
    """
    return min(int(imagenet // BIN), 100 // BIN - 1)


@cache
def fit_baseline(name: str, shift: Shift, x_column: str) -> Fit:
    """Fit one curve of a baseline of the testbed."""
    return fit_models(named_baseline(name), shift, x_column)


def fit_models(baseline: Baseline, shift: Shift, x_column: str) -> Fit:
    """Fit one curve of a baseline; raises NoFitError if its models do not determine one."""
    members = baseline.models
    columns = (x_column, shift.column)
    known = [all(column in model.accuracies for column in columns) for model in members]
    used = [all(0 < model.accuracies.get(column, 0.0) < 100 for column in columns) for model in members]
    models = tuple(model for model, use in zip(members, used, strict=True) if use)
    x, y = (logit([model.accuracies[column] for model in models]) for column in columns)
    _check(baseline, columns, x, y)
    shape_of = shape_local if baseline.local and len(models) >= _LEAST_FOR_A_CURVE else shape_line
    return Fit(
        baseline=baseline.name,
        shift=shift,
        x_column=x_column,
        models=models,
        left_out=tuple(
            model.model for model, there, use in zip(members, known, used, strict=True) if there and not use
        ),
        shape=shape_of(x, y, resamples(len(members))[:, used]),
    )


def _check(baseline: Baseline, columns: tuple[str, str], x: Floats, y: Floats) -> None:
    """Refuse models that do not determine a baseline; those of the testbed always do."""
    x_column, column = columns
    if len(x) < _LEAST_FOR_A_LINE:
        raise NoFitError(
            f"{baseline.name} has {len(x)} models with {x_column} and {column} above 0 and below 100 %; a baseline "
            f"takes {_LEAST_FOR_A_LINE}"
        )
    if np.ptp(x) < 1e-9 or fit_lines(x, y, np.ones((1, len(x))))[0].item() <= 0:
        raise NoFitError(
            f"{column} does not rise with {x_column} in {baseline.name}; so it cannot be a baseline for it"
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
        found = np.array([fit.shape.slope, fit.shape.intercept, fit.shape.r, fit.n])
        if (abs(found - [slope, intercept, r, n]) > [1e-5, 1e-5, 1e-4, 0]).any():
            raise InputError(
                f"the testbed that came with the package gives a wrong line for {column} (slope {found[0]:.6f} "
                f"instead of {slope}); its file is damaged, install the package again"
            )


LEAST_PER_SET = 5  # models that a fit takes for each ID set
_MOST_EXPLAINED = 0.999  # of an ID set's variance by the others: above it, the coefficients are arbitrary
_WORST_CONDITION = 1e12  # of a draw's equations; a draw of few distinct models has no plane


@dataclass(frozen=True, eq=False)
class Plane:
    """A linear fit in logit space of the accuracy under a shift on those of `columns`, and the models that it is over.

    `coefficients` are the intercept and a slope for each column; `draws` has such a row for each bootstrap sample. `r2`
    is the share of the variance explained, in logits; `mae` is the mean absolute error in percentage points. `left_out`
    names models at 0 % or 100 %, which have no logit.
    """

    shift: Shift
    columns: tuple[str, ...]
    models: tuple[Result, ...]
    left_out: tuple[str, ...]
    coefficients: Floats
    draws: Floats
    r2: float
    mae: float

    @property
    def n(self) -> int:
        """The number of models in the fit."""
        return len(self.models)

    @property
    def same_classes(self) -> bool:
        """Whether it predicts from accuracies on the shift's own classes."""
        return self.shift.same_classes is not None and self.columns[0].endswith(self.shift.on_own_classes(""))

    def predict(self, accuracies: Sequence[float]) -> float:
        """Return the accuracy under shift of a model with these accuracies, in the order of the columns."""
        return inverse_logit(self.coefficients[0] + self.coefficients[1:] @ logit(accuracies)).item()

    def predict_draws(self, accuracies: Floats) -> Floats:
        """Return the same by each draw's plane, for a row of accuracies each."""
        logits = np.clip(logit(accuracies), -FARTHEST, FARTHEST)
        return inverse_logit(self.draws[:, 0] + (self.draws[:, 1:] * logits).sum(axis=1))

    def mark(self, accuracies: Sequence[float]) -> str:
        """Return `extrapolated` if an accuracy is outside the range of the fit's models, else ''."""
        table = np.array([[model.accuracies[column] for column in self.columns] for model in self.models])
        outside = (accuracies < table.min(axis=0)) | (accuracies > table.max(axis=0))
        return EXTRAPOLATED if outside.any() else ""


def fit_plane(models: Sequence[Result], shift: Shift, columns: tuple[str, ...], over: str) -> Plane:
    """Fit by least squares over the models of the table `over`; raises NoFitError if they do not determine a plane."""
    wanted = (*columns, shift.column)
    known = [model for model in models if all(column in model.accuracies for column in wanted)]
    used = [model for model in known if all(0 < model.accuracies[column] < 100 for column in wanted)]
    _check_count(used, wanted, over)
    x = np.stack([logit([model.accuracies[column] for model in used]) for column in columns], axis=1)
    accuracies = np.array([model.accuracies[shift.column] for model in used])
    y = logit(accuracies)
    _check_independence(x, columns, over)
    design = np.column_stack([np.ones(len(used)), x])
    coefficients = np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], dtype=np.float64)
    predicted = design @ coefficients
    return Plane(
        shift=shift,
        columns=columns,
        models=tuple(used),
        left_out=tuple(model.model for model in known if model not in used),
        coefficients=coefficients,
        draws=_bootstrap(design, y, coefficients),
        r2=1 - float(((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()),
        mae=float(np.abs(accuracies - inverse_logit(predicted)).mean()),
    )


def draw_columns(result: Result, columns: Sequence[str]) -> Floats:
    """Return a model's accuracies on test sets drawn anew, [draws, columns]; sets of unknown size are not drawn."""
    names = list(accuracy_columns())
    drawn = []
    for place, column in enumerate(columns):
        size = result.size(column)
        seed = names.index(column) if column in names else len(names) + place
        percent = result.accuracies[column]
        drawn.append(np.full(DRAWS, percent) if size is None else draw_accuracies(percent, size, seed))
    return np.stack(drawn, axis=1)


def _check_count(used: Sequence[Result], columns: Sequence[str], over: str) -> None:
    sets = len(columns) - 1
    if len(used) < LEAST_PER_SET * sets:
        raise NoFitError(
            f"{over} has {len(used)} models with {', '.join(columns[:-1])} and {columns[-1]} above 0 and below 100 %; "
            f"a fit on {sets} `id_sets` takes {LEAST_PER_SET * sets}; add models, or give another table of them"
        )


def _check_independence(x: Floats, columns: Sequence[str], over: str) -> None:
    """Refuse ID sets of which one follows from the others."""
    for place, column in enumerate(columns):
        own, others = x[:, place], np.column_stack([np.ones(len(x)), np.delete(x, place, axis=1)])
        left = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        spread = own - own.mean()
        if left @ left <= (1 - _MOST_EXPLAINED) * (spread @ spread) or np.ptp(own) < 1e-9:
            raise NoFitError(
                f"the accuracies on {column} follow from those on the other `id_sets` in {over}, so their shares "
                f"cannot be told apart; leave {column} out, or add models of other training data"
            )


def _bootstrap(design: Floats, y: Floats, coefficients: Floats) -> Floats:
    """Return the coefficients for each draw of models; a draw that has none takes those of all models."""
    weights = resamples(len(y))
    left = np.einsum("dn,ni,nj->dij", weights, design, design)
    right = weights @ (design * y[:, None])
    sound = np.linalg.cond(left) < _WORST_CONDITION
    draws: Floats = np.tile(coefficients, (len(weights), 1))
    draws[sound] = np.linalg.solve(left[sound], right[sound][..., None])[..., 0]
    return draws
