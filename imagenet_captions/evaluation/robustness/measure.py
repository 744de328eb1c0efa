"""Effective robustness (Taori et al. 2020): how much better a model is under shift than its ImageNet accuracy predicts.

It is the accuracy under shift less what a baseline predicts from the accuracy on ImageNet, or from those on several
in-distribution (ID) test sets, in percentage points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.evaluation.intervals import Floats, middle
from imagenet_captions.evaluation.robustness.fits import (
    BASELINES,
    EXTRAPOLATED,
    LEAST_NEAR,
    SPARSE,
    Baseline,
    Fit,
    NoFitError,
    check_reference,
    draw_columns,
    fit_models,
    logit,
    named_baseline,
    on_first_column,
)
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Result, Results, Shift

SAME, ALL = "same classes", "all classes"
LONGEST_NAME = 60  # letters of a model's name in a sentence
_LEAST_CORRELATION = 0.9
_OTHER_FORM = "since its R and ObjectNet are compared on their own classes and those of other models on all 1000"


@dataclass(frozen=True)
class ShiftRobustness:
    """One model under one shift. `interval` is at 95 %: the fit's and the test sets'; `ids` are its ID accuracies.

    By a local curve, `deviation` is the standard deviation of ordinary trainings around the curve there in points,
    `below` the percentage of them that lie below the model, and `trainings` how many there are within reach.
    """

    fit: Fit
    ids: tuple[float, ...]
    accuracy: float
    predicted: float
    interval: tuple[float, float]
    mark: str
    deviation: float | None = None
    below: float | None = None
    trainings: int = 0

    @property
    def value(self) -> float:
        """Effective robustness in percentage points: accuracy minus prediction."""
        return self.accuracy - self.predicted

    @property
    def compared_on(self) -> str | None:
        """The classes of its ID accuracies; None for a shift that has all 1000."""
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
    """The result of `measure_robustness`; the values of the table and the figure's curves come from its `fits`.

    `unfit` says why other fits cannot be made. With several ID sets, `single` has for each fit one of the same models
    on the first set alone.
    """

    baseline: Baseline
    models: tuple[ModelRobustness, ...]
    fits: tuple[Fit, ...]
    unfit: tuple[str, ...]
    single: tuple[Fit, ...] = ()


def measure_robustness(
    results: Sequence[Result], baseline: str | Baseline = "auto", all_classes: bool = False
) -> RobustnessReport:
    """Return the effective robustness of every model under every shift that it has accuracies for.

    For R, A and ObjectNet it compares on the same classes where the model has that ImageNet accuracy, unless
    `all_classes` asks to compare every model on all 1000.
    """
    check_reference()
    known = named_baseline(baseline) if isinstance(baseline, str) else baseline
    return _measure(results, known, (IMAGENET,), all_classes)


def measure_multi_id(
    results: Sequence[Result], id_sets: Sequence[str], models: Sequence[Result], over: str, all_classes: bool = False
) -> RobustnessReport:
    """Return the same by planes on several ID sets over `models`, the models of the table `over`.

    R, A and ObjectNet are compared on the same classes where the accuracies on these classes are there for all ID sets,
    such as `yfcc_on_r_classes`, unless `all_classes` is given. Raises NoFitError if no shift has a fit.
    """
    ids = check_id_sets(id_sets)
    about = f"linear in logit space over the models of {over} (Shi et al. 2023)"
    report = _measure(results, Baseline(over, tuple(models), False, about), ids, all_classes)
    if not report.fits:
        raise NoFitError(f"nothing can be measured: no model of the results has {', '.join(ids)} and a shift")
    named = replace(report.baseline, name=" + ".join(ids))
    return replace(report, baseline=named, single=tuple(map(on_first_column, report.fits)))


def check_id_sets(id_sets: Sequence[str], *tables: tuple[Results, str]) -> tuple[str, ...]:
    """Return the ID sets; raises InputError for fewer than two, a repeated one, a shift, or one that a table lacks."""
    for name in id_sets:
        if id_sets.count(name) > 1:
            raise InputError(f"`id_sets` {quoted(name)} is given twice; give each test set once")
        if any(name in (shift.column, shift.same_classes) for shift in SHIFTS):
            raise InputError(f"`id_sets` {quoted(name)} is not in-distribution; give {IMAGENET} and sets of your own")
    if len(id_sets) < 2:
        raise InputError(f"`id_sets` takes two or more test sets; give {IMAGENET} and another one")
    for table, whose in tables:
        for name in id_sets:
            if name not in table.columns:
                raise InputError(f"{whose} has no column {quoted(name)}; add the accuracies on this `id_sets`")
    return tuple(id_sets)


def _measure(
    results: Sequence[Result], baseline: Baseline, ids: tuple[str, ...], all_classes: bool
) -> RobustnessReport:
    made: dict[tuple[Shift, tuple[str, ...]], Fit | str] = {}  # a fit, or why there is none

    def find(shift: Shift, columns: tuple[str, ...]) -> Fit | None:
        if (shift, columns) not in made:
            try:
                made[shift, columns] = fit_models(baseline, shift, columns)
            except NoFitError as error:
                made[shift, columns] = str(error)
        found = made[shift, columns]
        return found if isinstance(found, Fit) else None

    def choose(result: Result, shift: Shift) -> Fit | None:
        """Return the fit on the shift's own classes if there is one for this model, else the one on all classes.

        On several ID sets a shift has one fit for the whole table.
        """
        for columns in _forms(shift, ids, all_classes):
            usable = wanted = all(0 < value < 100 for value in result.row(columns))
            if len(ids) > 1:
                wanted = any({*columns, shift.column} <= each.accuracies.keys() for each in results)
            fit = find(shift, columns) if wanted else None
            if fit is not None:
                return fit if usable else None
        return None

    models = tuple(_measure_model(result, choose, ids) for result in results)
    order = [(shift, columns) for shift in SHIFTS for columns in _forms(shift, ids, all_classes)]
    fits = tuple(fit for key in order if isinstance(fit := made.get(key), Fit))
    unfit = tuple(found for found in made.values() if isinstance(found, str))
    if unfit and not fits:
        raise NoFitError(f"nothing can be measured: {unfit[0]}")
    return RobustnessReport(baseline, _keep_comparable_means(models), fits, unfit)


def _forms(shift: Shift, ids: tuple[str, ...], all_classes: bool) -> list[tuple[str, ...]]:
    """Return the columns that a shift may be predicted from, the better ones first."""
    if shift.same_classes is None or all_classes:
        return [ids]
    return [tuple(map(shift.on_own_classes, ids)), ids]


def _measure_model(
    result: Result, choose: Callable[[Result, Shift], Fit | None], ids: Sequence[str]
) -> ModelRobustness:
    shifts: dict[str, ShiftRobustness] = {}
    draws: dict[str, Floats] = {}
    for shift in SHIFTS:
        accuracy = result.accuracies.get(shift.column)
        fit = None if accuracy is None else choose(result, shift)
        if accuracy is None or fit is None:
            continue
        known = tuple(result.row(fit.columns))
        drawn = draw_columns(result, fit.columns)
        shifted = draw_columns(result, (shift.column,))[:, 0]
        above = shifted - fit.predict_draws(drawn[:, 0] if len(known) == 1 else drawn)
        draws[shift.column] = above
        predicted, ordinary = fit.predict(*known), fit.ordinary(known[0])
        is_lower = ordinary < logit(accuracy) - logit(predicted)
        scatter = fit.scatter(known[:1])
        slope = predicted / 100 * (100 - predicted)  # of points over logits
        shifts[shift.column] = ShiftRobustness(
            fit=fit,
            ids=known,
            accuracy=accuracy,
            predicted=predicted,
            interval=middle(above),
            mark=fit.mark(*known),
            deviation=None if scatter is None else float(scatter.item() * slope),
            below=100 * float(is_lower.mean()) if len(ordinary) else None,
            trainings=len(ordinary),
        )
    averaged = [found for found in shifts.values() if found.fit.shift.averaged]
    no_mean = _why_no_mean(result, averaged, ids)
    if no_mean:
        return ModelRobustness(result, shifts, None, no_mean)
    mean = Mean(
        value=float(np.mean([found.value for found in averaged])),
        interval=middle(np.mean([draws[found.fit.shift.column] for found in averaged], axis=0)),
        compared_on=next(found.compared_on for found in averaged if found.compared_on),
        mark=worst([found.mark for found in averaged]),
    )
    return ModelRobustness(result, shifts, mean)


def _why_no_mean(result: Result, averaged: Sequence[ShiftRobustness], ids: Sequence[str]) -> str:
    """Return why the cells of a model have no mean, or nothing if they have one."""
    if not any(column in result.accuracies for column in ids):
        return "no ImageNet accuracy"
    found = [each.fit.shift for each in averaged]
    missing = [shift.label for shift in SHIFTS if shift.averaged and shift not in found]
    if missing:
        return f"for want of {', '.join(missing)}"
    if len({each.compared_on for each in averaged} - {None}) > 1:
        return "since of its R and ObjectNet one is compared on its own classes and the other on all 1000"
    return ""


def _keep_comparable_means(models: tuple[ModelRobustness, ...]) -> tuple[ModelRobustness, ...]:
    """Keep means of one form in a table; of two forms, those on all classes, which every model can have."""
    if len({model.mean.compared_on for model in models if model.mean}) < 2:
        return models
    kept = []
    for model in models:
        apart = model.mean is not None and model.mean.compared_on == SAME
        kept.append(replace(model, mean=None, no_mean=_OTHER_FORM) if apart else model)
    return tuple(kept)


def worst(marks: Sequence[str]) -> str:
    """Return the mark that limits a value most.

    >>> worst(["", "sparse", "extrapolated"]), worst([""])
    ('extrapolated', '')
    """
    return next((mark for mark in (EXTRAPOLATED, SPARSE) if mark in marks), "")


def write_notes(report: RobustnessReport) -> tuple[str, ...]:
    """Return the notes on a report: on its fits, then on its values, then on its cells and means."""
    notes = [*report.unfit, *_notes_on_fits(report), *_notes_on_models(report.models)]
    return tuple(dict.fromkeys(notes))


def _notes_on_fits(report: RobustnessReport) -> Iterable[str]:
    for fit in report.fits:
        label, r = fit.shift.label, fit.quality[0]
        if fit.left_out and report.baseline.name not in BASELINES:  # docs/design/baseline-fit.md tells of those
            names = _listed(fit.left_out)
            yield f"{label}: the fit leaves out {names}, at 0 % or 100 %, without a logit"
        if r < _LEAST_CORRELATION:
            yield f"{label}: the line fits badly (r {r:.2f}), so read what lies above it with care"
    for column in dict.fromkeys(fit.x_column for fit in report.fits):
        marked: dict[str, list[str]] = {SPARSE: [], EXTRAPOLATED: []}
        for model in report.models:
            found = {each.mark: each for each in model.shifts.values() if each.fit.x_column == column}
            for mark in found.keys() - {""}:
                count = f" ({found[mark].trainings})" if mark == SPARSE else ""
                marked[mark].append(model.result.model + count)
        if marked[SPARSE]:
            yield (
                f"sparse: the curve over {column} has fewer than {LEAST_NEAR} trainings within reach, "
                f"so the interval is not one at 95 %: {_listed(marked[SPARSE])}"
            )
        if marked[EXTRAPOLATED]:
            (low,), (high,) = next(fit.ranges for fit in report.fits if fit.x_column == column)
            where = f"outside the fitted range of {column} ({low:.1f} to {high:.1f} %)"
            yield f"extrapolated: {where}: {_listed(marked[EXTRAPOLATED])}"


def _notes_on_models(models: Sequence[ModelRobustness]) -> Iterable[str]:
    for model in models:
        for column, value in model.result.accuracies.items():
            if value in (0, 100):
                so = "logit space predicts nothing from it"
                if any(shift.column == column for shift in SHIFTS):
                    so = "drawn at the edge of the figure"
                yield f"{_listed([model.result.model])} has {value:g} % in {column}: {so}"
    results = [model.result for model in models]
    without = [result.model for result in results if IMAGENET not in result.accuracies]
    if without:
        yield f"no ImageNet accuracy: {_listed(without)}"
    reasons: dict[str, list[str]] = {}
    for model in models:
        if model.no_mean and IMAGENET in model.result.accuracies:
            reasons.setdefault(model.no_mean, []).append(model.result.model)
    mixed = []
    for shift in SHIFTS:
        found = [model.shifts[shift.column] for model in models if shift.column in model.shifts]
        if len({each.compared_on for each in found}) > 1:
            mixed.append(shift.label)
    if mixed:
        without = reasons.pop(_OTHER_FORM, [])
        yield (
            f"{', '.join(mixed)}: some models are compared on the shift's own classes and some on all 1000 (marked *), "
            "by two different curves; `all_classes=True` compares all alike"
            + (f", and gives a mean to {_listed(without)}" if without else "")
        )
    for reason, names in reasons.items():
        yield f"no mean, {reason}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name, LONGEST_NAME) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
