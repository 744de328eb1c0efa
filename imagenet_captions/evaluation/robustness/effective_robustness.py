"""Effective robustness (Taori et al. 2020): how much better a model is under shift than its ImageNet accuracy predicts.

It is the accuracy under shift less what the baseline's curve predicts from the ImageNet accuracy, in percentage points.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from imagenet_captions.evaluation.intervals import Floats, draw_accuracies, middle
from imagenet_captions.evaluation.robustness.baseline import (
    EXTRAPOLATED,
    SPARSE,
    Fit,
    NoFitError,
    check_reference,
    fit_baseline,
    fit_models,
)
from imagenet_captions.evaluation.robustness.baseline_members import Baseline, named_baseline
from imagenet_captions.evaluation.robustness.results import Result
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS, Shift, accuracy_columns, images_of

SAME, ALL = "same classes", "all classes"


@dataclass(frozen=True)
class ShiftRobustness:
    """One model under one shift. `value` is in percentage points, `interval` at 95 %: the fit's and the test sets'."""

    fit: Fit
    imagenet: float
    accuracy: float
    predicted: float
    interval: tuple[float, float]

    @property
    def value(self) -> float:
        """Effective robustness: accuracy minus prediction."""
        return self.accuracy - self.predicted

    @property
    def mark(self) -> str:
        """`sparse` or `extrapolated` if the fit has few models or none at this accuracy, else ""."""
        return self.fit.mark(self.imagenet)

    @property
    def compared_on(self) -> str | None:
        """The classes of its ImageNet accuracy; None for a shift that has all 1000."""
        if self.fit.shift.same_classes is None:
            return None
        return SAME if self.fit.same_classes else ALL


@dataclass(frozen=True)
class Mean:
    """The mean over V2, R, Sketch and ObjectNet; `compared_on` holds for both R and ObjectNet."""

    value: float
    interval: tuple[float, float]
    compared_on: str
    mark: str


@dataclass(frozen=True)
class ModelRobustness:
    """One model under every shift for which it has accuracies; without a mean, `no_mean` says why."""

    result: Result
    shifts: Mapping[str, ShiftRobustness]
    mean: Mean | None
    no_mean: str = ""


@dataclass(frozen=True)
class RobustnessReport:
    """The result of `measure_robustness`; the values of the table and the figure's curves come from its `fits`."""

    baseline: Baseline
    all_classes: bool
    models: tuple[ModelRobustness, ...]
    fits: tuple[Fit, ...]
    unfit: tuple[str, ...]


class _Fits:
    """The fits of one baseline, each made once, and why others cannot be made."""

    def __init__(self, make: Callable[[Shift, str], Fit], all_classes: bool) -> None:
        self._make = make
        self._all_classes = all_classes
        self.made: dict[tuple[str, str], Fit] = {}
        self.unfit: dict[tuple[str, str], str] = {}

    def choose(self, result: Result, shift: Shift) -> Fit | None:
        """Return the fit on the shift's own classes if there is one for this model, else the one on all classes."""
        for x_column in (None if self._all_classes else shift.same_classes, IMAGENET):
            if x_column is not None and 0 < result.accuracies.get(x_column, 0.0) < 100:
                fit = self._find(shift, x_column)
                if fit is not None:
                    return fit
        return None

    def _find(self, shift: Shift, x_column: str) -> Fit | None:
        key = (shift.column, x_column)
        if key not in self.made and key not in self.unfit:
            try:
                self.made[key] = self._make(shift, x_column)
            except NoFitError as error:
                self.unfit[key] = str(error)
        return self.made.get(key)


def measure_robustness(
    results: Sequence[Result], baseline: str | Baseline = "auto", all_classes: bool = False
) -> RobustnessReport:
    """Return the effective robustness of every model under every shift that it has accuracies for.

    For R, A and ObjectNet it compares on the same classes where the model has that ImageNet accuracy, unless
    `all_classes` asks to compare every model on all 1000.
    """
    check_reference()
    if isinstance(baseline, str):
        fits = _Fits(partial(fit_baseline, baseline), all_classes)
        baseline = named_baseline(baseline)
    else:
        fits = _Fits(partial(fit_models, baseline), all_classes)
    models = _keep_comparable_means([_measure_model(result, fits) for result in results])
    order = [(shift.column, x) for shift in SHIFTS for x in (shift.same_classes, IMAGENET)]
    used = tuple(fits.made[key] for key in order if key in fits.made)
    if fits.unfit and not used:
        raise NoFitError(f"nothing can be measured: {next(iter(fits.unfit.values()))}")
    return RobustnessReport(baseline, all_classes, models, used, tuple(fits.unfit.values()))


def _measure_model(result: Result, fits: _Fits) -> ModelRobustness:
    shifts, draws = {}, {}
    for shift in SHIFTS:
        accuracy = result.accuracies.get(shift.column)
        fit = None if accuracy is None else fits.choose(result, shift)
        if accuracy is None or fit is None:
            continue
        imagenet = result.accuracies[fit.x_column]
        draws[shift.column] = _draw(result, fit)
        shifts[shift.column] = ShiftRobustness(
            fit, imagenet, accuracy, fit.predict(imagenet), middle(draws[shift.column])
        )
    no_mean = _why_no_mean(result, shifts)
    return ModelRobustness(result, shifts, None if no_mean else _mean(shifts, draws), no_mean)


def _why_no_mean(result: Result, shifts: Mapping[str, ShiftRobustness]) -> str:
    """Return why the cells of a model have no mean, or nothing if they have one."""
    if IMAGENET not in result.accuracies:
        return "no ImageNet accuracy"
    missing = [shift.label for shift in SHIFTS if shift.averaged and shift.column not in shifts]
    if missing:
        return f"for want of {', '.join(missing)}"
    if len({found.compared_on for found in _averaged(shifts)} - {None}) > 1:
        return "since of its R and ObjectNet one is compared on its own classes and the other on all 1000"
    return ""


def _mean(shifts: Mapping[str, ShiftRobustness], draws: Mapping[str, Floats]) -> Mean:
    averaged = _averaged(shifts)
    marks = {found.mark for found in averaged}
    return Mean(
        value=float(np.mean([found.value for found in averaged])),
        interval=middle(np.mean([draws[found.fit.shift.column] for found in averaged], axis=0)),
        compared_on=next(found.compared_on for found in averaged if found.compared_on),
        mark=next((mark for mark in (EXTRAPOLATED, SPARSE) if mark in marks), ""),
    )


def _averaged(shifts: Mapping[str, ShiftRobustness]) -> list[ShiftRobustness]:
    return [shifts[shift.column] for shift in SHIFTS if shift.averaged and shift.column in shifts]


def _keep_comparable_means(models: Sequence[ModelRobustness]) -> tuple[ModelRobustness, ...]:
    """Keep means of one form in a table; of two forms, those on all classes, which every model can have."""
    forms = {model.mean.compared_on for model in models if model.mean is not None}
    if len(forms) < 2:
        return tuple(models)
    reason = "since its R and ObjectNet are compared on their own classes and those of other models on all 1000"
    return tuple(
        replace(model, mean=None, no_mean=reason)
        if model.mean is not None and model.mean.compared_on == SAME
        else model
        for model in models
    )


def _draw(result: Result, fit: Fit) -> Floats:
    """Return effective robustness by every curve of the bootstrap, each with test sets drawn anew."""
    imagenet, shifted = (
        draw_accuracies(
            result.accuracies[column],
            result.images.get(column, images_of(column)),
            seed=accuracy_columns().index(column),
        )
        for column in (fit.x_column, fit.shift.column)
    )
    return shifted - fit.predict_draws(imagenet)
