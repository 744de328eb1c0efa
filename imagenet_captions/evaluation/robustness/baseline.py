"""The baseline: the accuracy under shift of ordinary ImageNet models, as a curve over their accuracy in logit space.

Accuracies are in percent throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import DRAWS, Floats
from imagenet_captions.evaluation.robustness.baseline_members import Baseline, named_baseline
from imagenet_captions.evaluation.robustness.curves import (
    Shape,
    fit_lines,
    inverse_logit,
    logit,
    shape_line,
    shape_local,
)
from imagenet_captions.evaluation.robustness.results import Result
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS, Shift

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
