"""The baseline: lines in logit space through ImageNet models of the imagenet-testbed (Taori et al. 2020).

logit(shift) = slope * logit(ImageNet) + intercept, fitted by least squares. Accuracies are in percent throughout.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import DRAWS, Floats
from imagenet_captions.evaluation.results import Result, read_testbed
from imagenet_captions.evaluation.shifts import IMAGENET, SHIFTS, Shift

BASELINES = ("standard", "imagenet-only")
LEAST_STANDARD = 55.0  # the testbed's own plots fit the models of at least so many percent
_REPEATED_RUNS = ("aws", "batch64", "subsample")  # retrained or cut-down copies, which the testbed leaves out too


@dataclass(frozen=True, eq=False)
class Fit:
    """A baseline's line for one shift, with what it rests on.

    `x_column` is the ImageNet accuracy that it predicts from, `lowest` and `highest` the range of it in the fit.
    `slopes` and `intercepts` hold the lines of the bootstrap; draw k is the same sample of models in every fit of a
    baseline. `left_out` names models at 0 % or 100 %, which have no logit.
    """

    baseline: str
    shift: Shift
    x_column: str
    slope: float
    intercept: float
    r: float
    n: int
    lowest: float
    highest: float
    slopes: Floats
    intercepts: Floats
    left_out: tuple[str, ...]

    def predict(self, imagenet: float) -> float:
        """The accuracy under shift of an ImageNet model with this ImageNet accuracy."""
        return float(inverse_logit(self.slope * logit(imagenet) + self.intercept))

    def predict_draws(self, imagenet: npt.ArrayLike) -> Floats:
        """The same by every line of the bootstrap; `imagenet` is one accuracy, or one a draw."""
        return inverse_logit(self.slopes * logit(imagenet) + self.intercepts)

    @property
    def same_classes(self) -> bool:
        """Whether it predicts from the ImageNet accuracy on the shift's own classes."""
        return self.x_column != IMAGENET


def logit(percent: npt.ArrayLike) -> Floats:
    """The natural logarithm of p / (100 - p).

    >>> float(logit(50.0))
    0.0
    """
    values = np.asarray(percent, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values) - np.log(100.0 - values), dtype=np.float64)


def inverse_logit(value: npt.ArrayLike) -> Floats:
    """The percent whose logit this is; minus and plus infinity give 0 and 100."""
    with np.errstate(over="ignore"):
        return np.asarray(100.0 / (1.0 + np.exp(-np.asarray(value, dtype=np.float64))), dtype=np.float64)


def fit_lines(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Slopes and intercepts of weighted least squares, one line for each row of `weights`."""
    total = weights.sum(axis=1)
    x_mean, y_mean = weights @ x / total, weights @ y / total
    covariance = weights @ (x * y) / total - x_mean * y_mean
    variance = weights @ (x * x) / total - x_mean * x_mean
    slopes = covariance / variance
    return slopes, y_mean - slopes * x_mean


def choose_baseline(results: Iterable[Result]) -> str:
    """`standard` where every model is in its reach (55 % on ImageNet), else `imagenet-only`, which goes down to 0."""
    known = [result.accuracies[IMAGENET] for result in results if IMAGENET in result.accuracies]
    return "standard" if all(value >= LEAST_STANDARD for value in known) else "imagenet-only"


@cache
def fit_baseline(baseline: str, shift: Shift, x_column: str) -> Fit:
    """Fit one line over the testbed's models of a baseline."""
    members = baseline_models(baseline)
    known = [x_column in result.accuracies and shift.column in result.accuracies for result in members]
    x = np.array([result.accuracies.get(x_column, 0.0) for result in members])
    y = np.array([result.accuracies.get(shift.column, 0.0) for result in members])
    usable = np.array(known) & (x > 0) & (x < 100) & (y > 0) & (y < 100)
    at_the_edge = tuple(
        result.model for result, there, used in zip(members, known, usable, strict=True) if there and not used
    )
    logit_x, logit_y = logit(x[usable]), logit(y[usable])
    slope, intercept = fit_lines(logit_x, logit_y, np.ones((1, len(logit_x))))
    slopes, intercepts = fit_lines(logit_x, logit_y, _resamples(len(members))[:, usable])
    return Fit(
        baseline=baseline,
        shift=shift,
        x_column=x_column,
        slope=float(slope[0]),
        intercept=float(intercept[0]),
        r=float(np.corrcoef(logit_x, logit_y)[0, 1]),
        n=int(usable.sum()),
        lowest=float(x[usable].min()),
        highest=float(x[usable].max()),
        slopes=slopes,
        intercepts=intercepts,
        left_out=at_the_edge,
    )


def baseline_models(baseline: str) -> tuple[Result, ...]:
    """The testbed's models that a baseline is fitted over.

    >>> len(baseline_models("standard"))
    85
    """
    if baseline not in BASELINES:
        raise InputError(f"there is no baseline {baseline!r:.40}; there are {' and '.join(BASELINES)}")
    types = ("standard",) if baseline == "standard" else ("standard", "low_accuracy_cnn")
    least = LEAST_STANDARD if baseline == "standard" else 0.0
    return tuple(
        result
        for result in read_testbed().rows
        if result.training in types
        and not any(word in result.model for word in _REPEATED_RUNS)
        and result.accuracies.get(IMAGENET, -1.0) >= least
    )


@cache
def _resamples(models: int) -> Floats:
    """How often each model is drawn, in each of the bootstrap's draws (seeded)."""
    generator = np.random.default_rng(0)
    return generator.multinomial(models, np.full(models, 1 / models), size=DRAWS).astype(np.float64)


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
        if (
            abs(fit.slope - slope) > 1e-5
            or abs(fit.intercept - intercept) > 1e-5
            or abs(fit.r - r) > 1e-4
            or fit.n != n
        ):
            raise InputError(
                f"the testbed that came with the package gives a wrong line for {column} (slope {fit.slope:.6f} "
                f"instead of {slope}); its file is damaged, install the package again"
            )
