"""Effective robustness with several in-distribution (ID) test sets (Shi et al., NeurIPS 2023, arXiv 2302.01381).

One linear fit in logit space predicts the accuracy under shift from the accuracies on all ID sets, so that models with
different training data share a baseline. Accuracies are in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.intervals import Floats, middle
from imagenet_captions.evaluation.robustness.baseline import EXTRAPOLATED, NoFitError
from imagenet_captions.evaluation.robustness.effective_robustness import ALL, SAME, Mean
from imagenet_captions.evaluation.robustness.plane import Plane, draw_columns, fit_plane
from imagenet_captions.evaluation.robustness.results import Result, Results
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS, Shift


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
    return MultiIdModel(result, shifts, _mean(shifts, draws))


def _mean(shifts: Mapping[str, MultiIdRobustness], draws: Mapping[str, Floats]) -> Mean | None:
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
