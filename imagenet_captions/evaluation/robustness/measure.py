"""Effective robustness: accuracy under shift less what a baseline predicts from ImageNet or several ID test sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imagenet_captions.errors import shortened
from imagenet_captions.evaluation.intervals import Floats, middle
from imagenet_captions.evaluation.robustness.fits import (
    BASELINES,
    EXTRAPOLATED,
    LEAST_NEAR,
    SPARSE,
    Baseline,
    Fit,
    NoFitError,
    draw_columns,
    fit_models,
    logit,
    named_baseline,
    on_first_column,
)
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Result

SAME, ALL = "same classes", "all classes"
LONGEST_NAME = 60  # letters of a model's name in a sentence
_LEAST_CORRELATION = 0.9
_OTHER_FORM = "since its R and ObjectNet are compared on their own classes and those of other models on all 1000"


@dataclass(frozen=True)
class ShiftRobustness:
    """One model under one shift. `interval` is at 95 %: the fit's and the test sets'.

    By a local curve, `deviation` is the standard deviation of ordinary trainings around the curve there in points,
    `below` the percentage of them that lie below the model, and `trainings` how many there are within reach.
    """

    fit: Fit
    accuracy: float
    predicted: float
    interval: tuple[float, float]
    mark: str
    deviation: float | None = None
    below: float | None = None
    trainings: int | None = None

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
    known = named_baseline(baseline) if isinstance(baseline, str) else baseline
    return _measure(results, known, (IMAGENET,), all_classes)


def measure_multi_id(
    results: Sequence[Result], ids: Sequence[str], models: Sequence[Result], over: str, all_classes: bool = False
) -> RobustnessReport:
    """Return the same by planes on several ID sets over `models`, the models of the table `over`.

    R, A and ObjectNet are compared on the same classes where the accuracies on these classes are there for all ID sets,
    such as `yfcc_on_r_classes`, unless `all_classes` is given. Raises NoFitError if no shift has a fit.
    """
    about = f"linear in logit space over the models of {over} (Shi et al. 2023)"
    report = _measure(results, Baseline(over, tuple(models), about), tuple(ids), all_classes)
    if not report.fits:
        raise NoFitError(f"nothing can be measured: no model of the results has {', '.join(ids)} and a shift")
    named = replace(report.baseline, name=" + ".join(ids))
    return replace(report, baseline=named, single=tuple(map(on_first_column, report.fits)))


def _measure(
    results: Sequence[Result], baseline: Baseline, ids: tuple[str, ...], all_classes: bool
) -> RobustnessReport:
    chosen: list[list[Fit]] = [[] for _ in results]
    fits: list[Fit] = []
    unfit: list[NoFitError] = []
    for shift in SHIFTS:
        left = {at: each for at, each in enumerate(results) if shift.column in each.accuracies}
        forms = [ids]
        if shift.same_classes is not None and not all_classes:
            forms = [tuple(map(shift.on_own_classes, ids)), ids]
        for columns in forms:
            able = [at for at, each in left.items() if all(0 < value < 100 for value in each.row(columns))]
            try:
                if able:
                    fits.append(fit_models(baseline, shift, columns))
            except NoFitError as error:
                unfit.append(error)
                continue
            for at in able:
                chosen[at].append(fits[-1])
                del left[at]
            if able and len(ids) > 1:  # a shift has one fit for the whole table
                break
    if unfit and not fits:
        raise NoFitError(f"nothing can be measured: {unfit[0]}")
    models = [_measure_model(result, own, ids) for result, own in zip(results, chosen, strict=True)]
    # Of means of two forms, those on all classes stay, which every model can have.
    if len({model.mean.compared_on for model in models if model.mean}) > 1:
        for number, model in enumerate(models):
            if model.mean and model.mean.compared_on == SAME:
                models[number] = replace(model, mean=None, no_mean=_OTHER_FORM)
    notes = [str(error) for error in unfit if not error.few]
    if few := "; ".join(error.few for error in unfit if error.few):
        notes.append(f"{baseline.name} has too few models for {few}; add models, or give another table of them")
    return RobustnessReport(baseline, tuple(models), tuple(fits), tuple(notes))


def _measure_model(result: Result, fits: Sequence[Fit], ids: Sequence[str]) -> ModelRobustness:
    shifts: dict[str, ShiftRobustness] = {}
    draws: dict[str, Floats] = {}
    for fit in fits:
        column = fit.shift.column
        accuracy, known = result.accuracies[column], result.row(fit.columns)
        drawn = draw_columns(result, fit.columns)
        expected = fit.predict_draws(drawn[:, 0] if len(known) == 1 else drawn)
        above = draw_columns(result, (column,))[:, 0] - expected
        draws[column] = above
        predicted, ordinary = fit.predict(*known), fit.ordinary(known[0])
        is_lower = ordinary < logit(accuracy) - logit(predicted)
        scatter = fit.scatter(known[:1])
        slope = predicted / 100 * (100 - predicted)  # of points over logits
        shifts[column] = ShiftRobustness(
            fit=fit,
            accuracy=accuracy,
            predicted=predicted,
            interval=middle(above),
            mark=fit.mark(*known),
            deviation=None if scatter is None else float(scatter.item() * slope),
            below=100 * float(is_lower.mean()) if len(ordinary) else None,
            trainings=len(ordinary) if fit.local else None,
        )
    averaged = [found for found in shifts.values() if found.fit.shift.averaged]
    missing = [shift.label for shift in SHIFTS if shift.averaged and shift.column not in shifts]
    forms = {found.compared_on for found in averaged} - {None}
    no_mean = ""
    if not any(column in result.accuracies for column in ids):
        no_mean = "no ImageNet accuracy"
    elif missing:
        no_mean = f"for want of {', '.join(missing)}"
    elif len(forms) > 1:
        no_mean = "since of its R and ObjectNet one is compared on its own classes and the other on all 1000"
    if no_mean:
        return ModelRobustness(result, shifts, None, no_mean)
    mean = Mean(
        value=float(np.mean([found.value for found in averaged])),
        interval=middle(np.mean([draws[found.fit.shift.column] for found in averaged], axis=0)),
        compared_on=str(*forms),
        mark=worst([found.mark for found in averaged]),
    )
    return ModelRobustness(result, shifts, mean)


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


def _notes_on_fits(report: RobustnessReport) -> Iterator[str]:
    for fit in report.fits:
        label, r = fit.shift.label, fit.quality[0]
        if fit.left_out and report.baseline.name not in BASELINES:  # docs/design/baseline-fit.md tells of those
            names = _listed(fit.left_out)
            yield f"{label}: the fit leaves out {names}, at 0 % or 100 %, without a logit"
        if r < _LEAST_CORRELATION:
            yield f"{label}: the line fits badly (r {r:.2f}), so read what lies above it with care"
    for column in dict.fromkeys(fit.x_column for fit in report.fits):
        sparse, beyond = dict[str, str](), dict[str, str]()
        for model in report.models:
            name = model.result.model
            for found in model.shifts.values():
                if found.fit.x_column == column and found.mark == SPARSE:
                    sparse[name] = f"{name} ({found.trainings})"
                elif found.fit.x_column == column and found.mark == EXTRAPOLATED:
                    beyond[name] = name
        if sparse:
            yield (
                f"sparse: the curve over {column} has fewer than {LEAST_NEAR} trainings within reach, "
                f"so the interval is not one at 95 %: {_listed(list(sparse.values()))}"
            )
        if beyond:
            (low,), (high,) = next(fit.ranges for fit in report.fits if fit.x_column == column)
            where = f"outside the fitted range of {column} ({low:.1f} to {high:.1f} %)"
            yield f"extrapolated: {where}: {_listed(list(beyond))}"


def _notes_on_models(models: Sequence[ModelRobustness]) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for model in models:
        name = model.result.model
        for column, value in model.result.accuracies.items():
            if value in (0, 100):
                is_shift = any(shift.column == column for shift in SHIFTS)
                so = "logit space predicts nothing from it"
                if is_shift:
                    so = "drawn at the edge of the figure"
                yield f"{_listed([name])} has {value:g} % in {column}: {so}"
        if IMAGENET not in model.result.accuracies:
            reasons.setdefault("no ImageNet accuracy", []).append(name)
        elif model.no_mean:
            reasons.setdefault(f"no mean, {model.no_mean}", []).append(name)
    mixed = []
    for shift in SHIFTS:
        found = [model.shifts[shift.column] for model in models if shift.column in model.shifts]
        if len({each.compared_on for each in found}) > 1:
            mixed.append(shift.label)
    if mixed:
        without = reasons.pop(f"no mean, {_OTHER_FORM}", [])
        yield (
            f"{', '.join(mixed)}: some models are compared on the shift's own classes and some on all 1000 (marked *), "
            "by two different curves; `all_classes=True` compares all alike"
            + (f", and gives a mean to {_listed(without)}" if without else "")
        )
    for reason, names in reasons.items():
        yield f"{reason}: {_listed(names)}"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(shortened(name, LONGEST_NAME) for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
