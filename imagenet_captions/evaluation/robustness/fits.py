"""Baselines: other models' accuracy under shift, as a curve over one accuracy or a plane over several, in logits.

Accuracies are in percent throughout. docs/design/baseline-fit.md says how the curve of `auto` is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import compress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import DRAWS, Floats
from imagenet_captions.evaluation.robustness.tables import BASELINES, IMAGENET, Result, Shift, read_testbed

SAME, ALL = "same classes", "all classes"
SPARSE, EXTRAPOLATED = "sparse", "extrapolated"
# A local line is over this share of the trainings, over no farther ones (in logits), and over so many models at least.
_SPAN, _REACH, _NEAREST = 0.25, 1.0, 5
LEAST_NEAR = 5  # trainings within reach from which a curve's interval is one at 95 %
_POOLED = 5  # trainings of the pooled standard deviation that a local one is mixed with
_FARTHEST = 40.0  # logits beyond it are 0 % or 100 % to every digit
_POINTS, _POINTS_OF_DRAWS = 1001, 201  # of the grid of a local curve
_LEAST_PER_SET, _LEAST_FOR_A_CURVE = 5, 50  # models, trainings
# Of an ID set's variance by the others: above it, the coefficients are arbitrary.
_MOST_EXPLAINED = 0.999
_WORST_CONDITION = 1e12  # of a draw's equations; a draw of few distinct models has no plane
_COPIES = ("aws", "100percent")  # the same ResNet-50, trained again
# Trained on a part of ImageNet; the published lines leave them out.
_CUT_DOWN = ("batch64", "subsample")

Integers = npt.NDArray[np.int64]


class NoFitError(InputError):
    """Raised when the models of a baseline do not determine a curve."""


class TooFewModels(NoFitError):
    """Raised when a baseline has too few models; says for what, and how many they are."""


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
        places = np.clip(np.asarray(x, dtype=np.float64), -_FARTHEST, _FARTHEST)
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
        places = np.clip(np.asarray(x, dtype=np.float64), -_FARTHEST, _FARTHEST)
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


class LocalFit(NamedTuple):
    """A local curve, its draws, and how far trainings lie from it, in logits; models have the residuals.

    A residual is from the curve of all other trainings.
    """

    curve: Curves
    draws: Curves
    scatter: Curves
    residuals: Floats


def fit_local(x: Floats, y: Floats, runs: Integers, deviations: Floats) -> LocalFit:
    """Fit a rising loess curve of degree 1 (Cleveland 1979) in which every training counts once.

    `runs` holds the number of the training that each model is a checkpoint of. In draw k, training t is off by
    `deviations[k, t]` times the scatter, which is the standard deviation of residuals around a place, mixed with that
    of all, and the curve is farther off by as much as Student's t spreads wider for so many trainings.
    """
    weights = 1 / np.bincount(runs)[runs]
    residuals = np.empty(len(x))
    for run in np.unique(runs):
        own = runs == run
        residuals[own] = y[own] - _smoother(x[~own], weights[~own], x[own]) @ y[~own]
    places = np.linspace(x.min(), x.max(), _POINTS)
    values = _smoother(x, weights, places) @ y
    curve = Curves(places, np.sort(values)[None])  # rearranged, if it falls somewhere
    places = np.linspace(x.min(), x.max(), _POINTS_OF_DRAWS)
    near = _nearness(x, weights, places) * weights
    pooled = np.average(residuals**2, weights=weights)
    known = near.sum(axis=1) + _POOLED  # the trainings that tell a standard deviation
    scatter = Curves(places, np.sqrt((near @ residuals**2 + _POOLED * pooled) / known)[None])
    counts = _smoother(x, weights, places)
    off = (deviations[:, runs] * scatter.at(x)) @ counts.T
    drawn = counts @ y + off * np.sqrt((known - 1) / (known - 3))
    return LocalFit(curve, Curves(places, np.sort(drawn, axis=1)), scatter, residuals)


def _smoother(x: Floats, weights: Floats, places: Floats) -> Floats:
    """Return how much the value of each model counts in the local line at each place, [places, models]."""
    away = x - places[:, None]
    near = _nearness(x, weights, places) * weights
    total, first, second = near.sum(axis=1), (near * away).sum(axis=1), (near * away**2).sum(axis=1)
    spread = second * total - first**2
    with np.errstate(divide="ignore", invalid="ignore"):
        line = (second[:, None] * near - first[:, None] * near * away) / spread[:, None]
        mean = near / total[:, None]
    has_slope = spread > 1e-9 * second * total  # models at a single place have none
    return np.asarray(np.where(has_slope[:, None], line, mean), dtype=np.float64)


def _nearness(x: Floats, weights: Floats, places: Floats) -> Floats:
    """Return how much each `x` counts at each place: tricube weights that end at the farthest neighbor."""
    away = np.abs(x - places[:, None])
    order = np.argsort(away, axis=1)
    sorted_away = np.take_along_axis(away, order, axis=1)
    share = np.cumsum(weights[order], axis=1) / weights.sum()
    farthest = (share >= _SPAN - 1e-9).argmax(axis=1)
    reach = np.minimum(sorted_away[np.arange(len(places)), farthest], _REACH)
    reach = np.maximum(reach, sorted_away[:, min(_NEAREST, len(x)) - 1])
    # A hair farther, so that neighbors at one distance all count.
    reach = np.maximum(reach * (1 + 1e-6), 1e-9)
    height = np.maximum(1 - (away / reach[:, None]) ** 3, 0)
    return np.asarray(height**3, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Baseline:
    """The models that a baseline is fitted to; `over` describes them.

    With `by_run`, every training counts once, however many checkpoints of it there are, and enough of them get a local
    curve over a single column.
    """

    name: str
    models: tuple[Result, ...]
    over: str
    by_run: bool = True

    @cached_property
    def runs(self) -> Integers:
        """The number of each model's training."""
        names = [model.run or model.model for model in self.models]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
        return np.array([numbers[name] for name in names])


@cache
def named_baseline(name: str) -> Baseline:
    """Return one of BASELINES."""
    types = ("standard",) if name == "standard" else ("standard", "low_accuracy_cnn")
    least = 55.0 if name == "standard" else 0.0
    left_out = _COPIES if name == "auto" else (*_COPIES, *_CUT_DOWN)
    models = tuple(
        result
        for result in read_testbed().rows
        if result.training in types
        and not any(word in result.model for word in left_out)
        and result.accuracies.get(IMAGENET, -1.0) >= least
    )
    return Baseline(name, models, BASELINES[name], by_run=name == "auto")


@dataclass(frozen=True, eq=False)
class Fit:
    """A baseline's curve or plane for one shift, which predicts from `columns`, and the models that it is fitted to.

    Draw k is the same sample, or the same deviation, of trainings in every curve of a baseline. `left_out` names models
    at 0 % or 100 %, which have no logit. `x` [models, columns] and `y` are the models' accuracies, `runs` the number of
    each one's training.
    """

    baseline: str
    shift: Shift
    columns: tuple[str, ...]
    models: tuple[Result, ...]
    x: Floats
    y: Floats
    runs: Integers
    left_out: tuple[str, ...]
    curve: Curves | Planes
    draws: Curves | Planes
    near: LocalFit | None = None

    def predict(self, *accuracies: float) -> float:
        """Return the accuracy under shift of an ordinary model with these accuracies, in the order of the columns."""
        return inverse_logit(self.curve.at(logit(accuracies))).item()

    def predict_all(self, x: npt.ArrayLike) -> Floats:
        """Return the same for many accuracies of one column."""
        return inverse_logit(self.curve.at(logit(x)))

    def predict_draws(self, accuracies: npt.ArrayLike) -> Floats:
        """Return the same by every draw's curve, for one accuracy, or one for each draw."""
        return inverse_logit(self.draws.at(logit(accuracies)))

    def mark(self, *accuracies: float) -> str:
        """Return `extrapolated` beyond the models of the fit, `sparse` where a local curve has few trainings, or ''."""
        for at, low, high in zip(accuracies, *self.ranges, strict=True):
            if not low <= at <= high:
                return EXTRAPOLATED
        is_sparse = self.near is not None and len(self.ordinary(accuracies[0])) < LEAST_NEAR
        return SPARSE if is_sparse else ""

    def ordinary(self, accuracy: float) -> Floats:
        """Return how far each training within reach of a local curve lies from it, in logits; else nothing."""
        if self.near is None:
            return np.empty(0)
        weights = 1 / np.bincount(self.runs)[self.runs]
        reached = _nearness(logit(self.x[:, 0]), weights, logit([accuracy]))[0] > 0
        runs = self.runs[reached]
        models, sums = np.bincount(runs), np.bincount(runs, self.near.residuals[reached])
        return np.asarray(sums[models > 0] / models[models > 0], dtype=np.float64)

    def scatter(self, accuracies: npt.ArrayLike) -> Floats | None:
        """Return the standard deviation of ordinary trainings around a local curve, in logits."""
        if self.near is None:
            return None
        places = np.clip(logit(accuracies), *self.near.scatter.grid[[0, -1]])
        return self.near.scatter.at(places)

    @property
    def x_column(self) -> str:
        """The first of the columns."""
        return self.columns[0]

    @property
    def size(self) -> str:
        """The number of models, and of trainings if some are checkpoints of one."""
        models, trainings = len(self.y), len(np.unique(self.runs))
        return f"{models}" if trainings == models else f"{models} of {trainings} trainings"

    @property
    def coefficients(self) -> list[float]:
        """The intercept and the slopes of a line or plane; nothing for a local curve."""
        return self.curve.coefficients[0].tolist() if isinstance(self.curve, Planes) else []

    @property
    def compared_on(self) -> str | None:
        """The classes of the accuracies that it predicts from; None for a shift that has all 1000."""
        ending = self.shift.on_own_classes("")
        if not ending:
            return None
        return SAME if self.x_column.endswith(ending) else ALL

    @cached_property
    def first_alone(self) -> Fit:
        """The line of the same models on the first of a plane's columns alone, without draws of its own."""
        line = fit_planes(logit(self.x[:, 0]), logit(self.y), np.ones((1, len(self.y))))
        return replace(self, columns=self.columns[:1], x=self.x[:, :1], curve=line, draws=line)

    @cached_property
    def ranges(self) -> tuple[list[float], list[float]]:
        """The lowest and the highest accuracies of the models in the fit, in the order of the columns."""
        return self.x.min(axis=0).tolist(), self.x.max(axis=0).tolist()

    @cached_property
    def quality(self) -> tuple[float, float, float]:
        """Correlation and R² of prediction and accuracy, in logits, and the mean absolute error in points."""
        y, predicted = logit(self.y), self.curve.at(logit(self.x.squeeze()))
        r2 = 1 - float(((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum())
        error = float(np.abs(self.y - inverse_logit(predicted)).mean())
        return float(np.corrcoef(predicted, y)[0, 1]), r2, error

    def describe(self) -> str:
        """Return how well it describes its models."""
        _, r2, error = self.quality
        return f"n {len(self.y)}, R² {r2:.4f}, MAE {error:.2f} points"


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
    runs, trainings = baseline.runs[used], baseline.runs.max() + 1
    _check(baseline.name, wanted, x, y, len(np.unique(runs)))
    curve: Curves | Planes
    draws: Curves | Planes
    near = None
    if baseline.by_run and len(columns) == 1 and len(np.unique(runs)) >= _LEAST_FOR_A_CURVE:
        z = np.random.default_rng(2).standard_normal((DRAWS, trainings))
        near = fit_local(x[:, 0], y, runs, z)
        curve, draws = near.curve, near.draws
    else:
        alone = 1 / np.bincount(runs)[runs] if baseline.by_run else np.ones(len(y))
        drawn = resamples(trainings)[:, runs] if len(columns) == 1 else resamples(len(y))
        curve, draws = fit_planes(x, y, alone[None]), fit_planes(x, y, alone * drawn)
    return Fit(
        baseline=baseline.name,
        shift=shift,
        columns=columns,
        models=tuple(compress(baseline.models, used)),
        x=found[used, :-1],
        y=found[used, -1],
        runs=runs,
        left_out=tuple(model.model for model in compress(baseline.models, known & ~used)),
        curve=curve,
        draws=draws,
        near=near,
    )


def _check(name: str, wanted: tuple[str, ...], x: Floats, y: Floats, trainings: int) -> None:
    *ids, column = wanted
    least = _LEAST_PER_SET * len(ids)
    if trainings < least:
        raise TooFewModels(f"{column} from {', '.join(ids)} ({trainings} of {least})")
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


def resamples(trainings: int) -> Floats:
    """Return how often each training is drawn in each draw of the bootstrap (seeded)."""
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(trainings, np.full(trainings, 1 / trainings), size=DRAWS)
    return drawn.astype(np.float64)
