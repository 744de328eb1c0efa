"""Effective robustness (Taori et al. 2020): how much better a model is under shift than its ImageNet accuracy predicts.

It is the accuracy under shift less what the baseline's curve predicts from the ImageNet accuracy, in percentage points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.intervals import Floats, draw_accuracies, middle
from imagenet_captions.evaluation.robustness.fits import (
    EXTRAPOLATED,
    LEAST_IN_BIN,
    SPARSE,
    Baseline,
    Fit,
    NoFitError,
    Plane,
    check_reference,
    draw_columns,
    fit_baseline,
    fit_models,
    fit_plane,
    named_baseline,
)
from imagenet_captions.evaluation.robustness.tables import (
    IMAGENET,
    SHIFTS,
    Result,
    Results,
    Shift,
    accuracy_columns,
    images_of,
    readable,
)

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


@dataclass(frozen=True)
class MultiIdRobustness:
    """One model under one shift. `value` and `interval` (95 %) are in percentage points."""

    fit: Plane
    accuracy: float
    predicted: float
    interval: tuple[float, float]
    mark: str

    @property
    def value(self) -> float:
        """Effective robustness: accuracy minus prediction."""
        return self.accuracy - self.predicted

    @property
    def compared_on(self) -> str | None:
        """The classes of the ID accuracies; None for a shift that has all 1000."""
        if self.fit.shift.same_classes is None:
            return None
        return SAME if self.fit.same_classes else ALL


@dataclass(frozen=True)
class MultiIdModel:
    """One model under every shift that it has accuracies for."""

    result: Result
    shifts: Mapping[str, MultiIdRobustness]
    mean: Mean | None


@dataclass(frozen=True)
class MultiIdReport:
    """The result of `measure_multi_id`; `single` has, for each of `fits`, a fit of the same models on the first set."""

    ids: tuple[str, ...]
    over: str
    models: tuple[MultiIdModel, ...]
    fits: tuple[Plane, ...]
    single: tuple[Plane, ...]
    unfit: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of this baseline in a table."""
        return " + ".join(self.ids)


def check_id_sets(id_sets: Sequence[str]) -> tuple[str, ...]:
    """Return the ID sets; raises InputError for fewer than two, a repeated one, or a shift among them."""
    shifts = {shift.column for shift in SHIFTS}
    for name in id_sets:
        if id_sets.count(name) > 1:
            raise InputError(f"`id_sets` {quoted(name)} is given twice; give each test set once")
        if name in shifts or name in {shift.same_classes for shift in SHIFTS}:
            raise InputError(f"`id_sets` {quoted(name)} is not in-distribution; give {IMAGENET} and sets of your own")
    if len(id_sets) < 2:
        raise InputError(f"`id_sets` takes two or more test sets; give {IMAGENET} and another one")
    return tuple(id_sets)


def check_has_columns(table: Results, name: str, ids: Iterable[str]) -> None:
    """Raise InputError for an ID set that a table has no column for."""
    for column in ids:
        if column not in table.columns:
            raise InputError(f"{name} has no column {quoted(column)}; add the accuracies on this `id_sets`")


def measure_multi_id(
    results: Sequence[Result], id_sets: Sequence[str], models: Sequence[Result], over: str, all_classes: bool = False
) -> MultiIdReport:
    """Return the effective robustness of `results` by fits over `models`, the models of the table `over`.

    R, A and ObjectNet are compared on the same classes where the accuracies on these classes are there for all ID sets,
    such as `yfcc_on_r_classes`, unless `all_classes` is given. Raises NoFitError if no shift has a fit.
    """
    ids = check_id_sets(id_sets)
    fits: list[Plane] = []
    unfit: list[str] = []
    for shift in SHIFTS:
        for columns in _forms(shift, ids, all_classes):
            if not any({*columns, shift.column} <= result.accuracies.keys() for result in results):
                continue
            try:
                fits.append(fit_plane(models, shift, columns, over))
                break
            except NoFitError as error:
                unfit.append(str(error))
    if not fits:
        none = f"no model of the results has {', '.join(ids)} and a shift"
        raise NoFitError(f"nothing can be measured: {next(iter(unfit), none)}")
    single = tuple(fit_plane(fit.models, fit.shift, fit.columns[:1], over) for fit in fits)
    measured = tuple(_measure(result, fits) for result in results)
    return MultiIdReport(ids, over, measured, tuple(fits), single, tuple(unfit))


def _forms(shift: Shift, ids: Sequence[str], all_classes: bool) -> Iterable[tuple[str, ...]]:
    """Yield the columns that a shift may be predicted from, the better ones first."""
    if shift.same_classes is not None and not all_classes:
        yield tuple(shift.on_own_classes(name) for name in ids)
    yield tuple(ids)


def _measure(result: Result, fits: Iterable[Plane]) -> MultiIdModel:
    shifts, draws = {}, {}
    for fit in fits:
        found = [result.accuracies.get(column, 0.0) for column in fit.columns]
        accuracy = result.accuracies.get(fit.shift.column)
        if accuracy is None or not all(0 < value < 100 for value in found):
            continue
        shifted = draw_columns(result, (fit.shift.column,))[:, 0]
        draws[fit.shift.column] = shifted - fit.predict_draws(draw_columns(result, fit.columns))
        shifts[fit.shift.column] = MultiIdRobustness(
            fit, accuracy, fit.predict(found), middle(draws[fit.shift.column]), fit.mark(found)
        )
    return MultiIdModel(result, shifts, _mean_of_multi_id(shifts, draws))


def _mean_of_multi_id(shifts: Mapping[str, MultiIdRobustness], draws: Mapping[str, Floats]) -> Mean | None:
    """Return the mean over V2, R, Sketch and ObjectNet; None if one is missing, or R and ObjectNet differ in form."""
    averaged = [shift.column for shift in SHIFTS if shift.averaged]
    if not set(averaged) <= shifts.keys():
        return None
    found = [shifts[column] for column in averaged]
    forms = {each.compared_on for each in found} - {None}
    if len(forms) > 1:
        return None
    return Mean(
        value=float(np.mean([each.value for each in found])),
        interval=middle(np.mean([draws[column] for column in averaged], axis=0)),
        compared_on=str(forms.pop()),
        mark=EXTRAPOLATED if any(each.mark for each in found) else "",
    )


_LEAST_CORRELATION = 0.9


def write_notes(report: RobustnessReport) -> tuple[str, ...]:
    """Return the notes on a report: on its fits, then on its values, then on its cells and means."""
    notes = [*report.unfit, *_notes_on_fits(report.fits), *_notes_on_marks(report), *_notes_on_cells(report)]
    return tuple(dict.fromkeys([*notes, *_notes_on_classes(report), *_notes_on_means(report)]))


def _notes_on_fits(fits: Sequence[Fit]) -> Iterable[str]:
    for fit in fits:
        if fit.left_out:
            yield f"{fit.shift.label}: the fit leaves out {_listed(fit.left_out)}, at 0 % or 100 %, without a logit"
        if fit.shape.r < _LEAST_CORRELATION:
            yield f"{fit.shift.label}: the line fits badly (r {fit.shape.r:.2f}), so read what lies above it with care"


def _notes_on_marks(report: RobustnessReport) -> Iterable[str]:
    for column in dict.fromkeys(fit.x_column for fit in report.fits):
        for mark in (SPARSE, EXTRAPOLATED):
            names = [
                model.result.model
                for model in report.models
                if any(found.mark == mark and found.fit.x_column == column for found in model.shifts.values())
            ]
            if not names:
                continue
            if mark == SPARSE:
                yield (
                    f"sparse: the fit has fewer than {LEAST_IN_BIN} models in the same 10 points of {column}, so the "
                    f"interval is wider: {_listed(names)}"
                )
            else:
                fit = next(fit for fit in report.fits if fit.x_column == column)
                yield (
                    f"extrapolated: outside the fitted range of {column} ({fit.lowest:.1f} to {fit.highest:.1f} %): "
                    f"{_listed(names)}"
                )


def _notes_on_cells(report: RobustnessReport) -> Iterable[str]:
    for model in report.models:
        for column, value in model.result.accuracies.items():
            if value in (0, 100):
                is_shift = any(shift.column == column for shift in SHIFTS)
                so = "drawn at the edge of the figure" if is_shift else "logit space predicts nothing from it"
                yield f"{readable(model.result.model)} has {value:g} % in {column}: {so}"
    without_imagenet = [model.result.model for model in report.models if IMAGENET not in model.result.accuracies]
    if without_imagenet:
        yield f"no ImageNet accuracy: {_listed(without_imagenet)}"


def _notes_on_classes(report: RobustnessReport) -> Iterable[str]:
    for shift in SHIFTS:
        forms = {model.shifts[shift.column].compared_on for model in report.models if shift.column in model.shifts}
        if len(forms) > 1:
            yield (
                f"{shift.label}: some models are compared on its own classes and some on all 1000 (marked *), by two "
                f"different curves; `all_classes=True` compares all alike"
            )


def _notes_on_means(report: RobustnessReport) -> Iterable[str]:
    without: dict[str, list[str]] = {}
    for model in report.models:
        if model.no_mean and IMAGENET in model.result.accuracies:
            without.setdefault(model.no_mean, []).append(model.result.model)
    for reason, names in without.items():
        yield f"no mean, {reason}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(readable, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
