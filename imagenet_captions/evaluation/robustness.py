"""Effective robustness (Taori et al. 2020): how much better a model is under shift than its ImageNet accuracy predicts.

It is the accuracy under shift less what the baseline's line predicts from the ImageNet accuracy, in percentage points.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imagenet_captions.evaluation.baseline import Fit, check_reference, choose_baseline, fit_baseline
from imagenet_captions.evaluation.intervals import Floats, draw_accuracies, middle
from imagenet_captions.evaluation.results import Result, readable
from imagenet_captions.evaluation.shifts import IMAGENET, SHIFTS, Shift, accuracy_columns, images_of

_LEAST_CORRELATION = 0.9


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
        """Effective robustness: accuracy less prediction."""
        return self.accuracy - self.predicted

    @property
    def outside(self) -> bool:
        """Whether the line is used where no model of the fit is."""
        return not self.fit.lowest <= self.imagenet <= self.fit.highest


@dataclass(frozen=True)
class ModelRobustness:
    """One model under every shift for which it has accuracies; the mean is over V2, R, Sketch and ObjectNet."""

    result: Result
    shifts: Mapping[str, ShiftRobustness]
    mean: float | None
    mean_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Report:
    """What `measure` found, and the sentences that a reader should know with it."""

    baseline: str
    all_classes: bool
    models: tuple[ModelRobustness, ...]
    fits: tuple[Fit, ...]
    notes: tuple[str, ...]


def measure(results: Sequence[Result], baseline: str | None = None, all_classes: bool = False) -> Report:
    """Effective robustness of every model under every shift that it has accuracies for.

    For R, A and ObjectNet it compares on the same classes where the model has that ImageNet accuracy, unless
    `all_classes` asks to compare every model on all 1000.
    """
    check_reference()
    baseline = baseline or choose_baseline(results)
    models = tuple(_measure_model(result, baseline, all_classes) for result in results)
    found = {
        (robustness.fit.shift.column, robustness.fit.x_column): robustness.fit
        for model in models
        for robustness in model.shifts.values()
    }
    order = [(shift.column, x) for shift in SHIFTS for x in (shift.same_classes, IMAGENET)]
    fits = tuple(found[key] for key in order if key in found)
    return Report(baseline, all_classes, models, fits, tuple(dict.fromkeys(_notes(models, fits))))


def _measure_model(result: Result, baseline: str, all_classes: bool) -> ModelRobustness:
    shifts, draws = {}, {}
    for shift in SHIFTS:
        x_column = _x_column(result, shift, all_classes)
        imagenet, accuracy = result.accuracies.get(x_column), result.accuracies.get(shift.column)
        if imagenet is None or accuracy is None or not 0 < imagenet < 100:
            continue
        fit = fit_baseline(baseline, shift, x_column)
        draws[shift.column] = _draw(result, fit)
        shifts[shift.column] = ShiftRobustness(
            fit, imagenet, accuracy, fit.predict(imagenet), middle(draws[shift.column])
        )
    averaged = [shift.column for shift in SHIFTS if shift.averaged]
    if not all(column in shifts for column in averaged):
        return ModelRobustness(result, shifts, None, None)
    mean = float(np.mean([shifts[column].value for column in averaged]))
    return ModelRobustness(result, shifts, mean, middle(np.mean([draws[column] for column in averaged], axis=0)))


def _x_column(result: Result, shift: Shift, all_classes: bool) -> str:
    if shift.same_classes is None or all_classes or shift.same_classes not in result.accuracies:
        return IMAGENET
    return shift.same_classes


def _draw(result: Result, fit: Fit) -> Floats:
    """Effective robustness by every line of the bootstrap, each with test sets drawn anew."""
    imagenet, shifted = (
        draw_accuracies(
            result.accuracies[column],
            result.images.get(column, images_of(column)),
            seed=accuracy_columns().index(column),
        )
        for column in (fit.x_column, fit.shift.column)
    )
    return shifted - fit.predict_draws(imagenet)


def _notes(models: Sequence[ModelRobustness], fits: Sequence[Fit]) -> Iterable[str]:
    for fit in fits:
        if fit.left_out:
            yield f"{fit.shift.label}: the fit leaves out {_listed(fit.left_out)}, at 0 % or 100 %, without a logit"
        if fit.r < _LEAST_CORRELATION:
            yield f"{fit.shift.label}: the line fits badly (r {fit.r:.2f}), so read what lies above it with care"
    for column in dict.fromkeys(fit.x_column for fit in fits):
        outside = [
            model.result.model
            for model in models
            if any(found.outside and found.fit.x_column == column for found in model.shifts.values())
        ]
        if outside:
            fit = next(fit for fit in fits if fit.x_column == column)
            yield (
                f"outside the fitted range of {column} ({fit.lowest:.1f} to {fit.highest:.1f} %), where the line "
                f"extrapolates: {_listed(outside)}"
            )
    yield from _notes_on_cells(models)
    for shift in SHIFTS:
        forms = {model.shifts[shift.column].fit.x_column for model in models if shift.column in model.shifts}
        if len(forms) > 1:
            yield (
                f"{shift.label}: some models are compared on its own classes and some on all 1000 (marked *), by two "
                f"different lines; --all-classes compares all alike"
            )


def _notes_on_cells(models: Sequence[ModelRobustness]) -> Iterable[str]:
    for model in models:
        for column, value in model.result.accuracies.items():
            if value in (0, 100):
                is_shift = any(shift.column == column for shift in SHIFTS)
                so = "drawn at the edge of the figure" if is_shift else "a line in logit space predicts nothing from it"
                yield f"{readable(model.result.model)} has {value:g} % in {column}: {so}"
    without_imagenet = [model.result.model for model in models if IMAGENET not in model.result.accuracies]
    if without_imagenet:
        yield f"no ImageNet accuracy: {_listed(without_imagenet)}"
    without_mean: dict[str, list[str]] = {}
    for model in models:
        missing = [shift.label for shift in SHIFTS if shift.averaged and shift.column not in model.shifts]
        if missing and IMAGENET in model.result.accuracies:
            without_mean.setdefault(_listed(missing), []).append(model.result.model)
    for wanted, names in without_mean.items():
        yield f"no mean, for want of {wanted}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(readable, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
