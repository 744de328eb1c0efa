"""Effective robustness: accuracy under shift less what a baseline predicts from ImageNet or several ID test sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imagenet_captions.errors import first_of, shortened
from imagenet_captions.evaluation.intervals import DRAWS, Floats, draw_accuracies, middle
from imagenet_captions.evaluation.robustness.fits import (
    EXTRAPOLATED,
    LEAST_NEAR,
    SAME,
    SPARSE,
    Baseline,
    Fit,
    NoFitError,
    TooFewModels,
    fit_models,
    logit,
    named_baseline,
)
from imagenet_captions.evaluation.robustness.tables import BASELINES, IMAGENET, IMAGES, SHIFTS, Result

LONGEST_NAME = 60  # letters of a model's name in a sentence
_LEAST_CORRELATION = 0.9
_OTHER_FORM = "since its R and ObjectNet are compared on their own classes and those of other models on all 1000"


@dataclass(frozen=True)
class Robustness:
    """Effective robustness in percentage points: accuracy minus prediction, or the mean over V2, R, Sketch, ObjectNet.

    `interval` is at 95 %: the fit's and the test sets'. The mean's `compared_on` holds for both R and ObjectNet.
    """

    value: float
    interval: tuple[float, float]
    compared_on: str | None
    mark: str


@dataclass(frozen=True)
class ShiftRobustness(Robustness):
    """One model under one shift.

    By a local curve, `deviation` is the standard deviation of ordinary trainings around the curve there in points,
    `below` the percentage of them that lie below the model, and `trainings` how many there are within reach.
    """

    fit: Fit
    predicted: float
    deviation: float | None
    below: float | None
    trainings: int | None


@dataclass(frozen=True)
class ModelRobustness:
    """One model under every shift for which it has accuracies; without a mean, `no_mean` says why."""

    result: Result
    shifts: Mapping[str, ShiftRobustness]
    mean: Robustness | None
    no_mean: str


@dataclass(frozen=True)
class RobustnessReport:
    """The result of `measure_robustness`; the values of the table and the figure's curves come from its `fits`.

    `unfit` says why other fits cannot be made. `multi` is the same by several ID sets, if that was asked for too.
    """

    baseline: Baseline
    ids: tuple[str, ...]
    models: tuple[ModelRobustness, ...]
    fits: tuple[Fit, ...]
    unfit: tuple[str, ...]
    multi: RobustnessReport | None = None

    @property
    def name(self) -> str:
        """The name of the baseline, or those of several ID sets."""
        return self.baseline.name if len(self.ids) == 1 else " + ".join(self.ids)


def measure_robustness(
    results: Sequence[Result],
    baseline: str | Baseline = "auto",
    all_classes: bool = False,
    ids: tuple[str, ...] = (IMAGENET,),
) -> RobustnessReport:
    """Return the effective robustness of every model under every shift that it has accuracies for.

    For R, A and ObjectNet it compares on the same classes where the model has that ImageNet accuracy, unless
    `all_classes` asks to compare every model on all 1000. Several `ids` predict by planes, on the same classes where
    there are accuracies on these for all ID sets, such as `yfcc_on_r_classes`. Raises NoFitError if nothing has a fit.
    """
    known = named_baseline(baseline) if isinstance(baseline, str) else baseline
    chosen: list[list[Fit]] = [[] for _ in results]
    fits: list[Fit] = []
    notes, too_few = list[str](), list[str]()
    for shift in SHIFTS:
        left = {at: each for at, each in enumerate(results) if shift.column in each.accuracies}
        forms = [ids]
        if shift.same_classes is not None and not all_classes:
            forms = [tuple(map(shift.on_own_classes, ids)), ids]
        for columns in forms:
            able = [at for at, each in left.items() if all(0 < value < 100 for value in each.row(columns))]
            if not able:
                continue
            try:
                fit = fit_models(known, shift, columns)
            except TooFewModels as error:
                too_few.append(str(error))
            except NoFitError as error:
                notes.append(str(error))
            else:
                fits.append(fit)
                for at in able:
                    chosen[at].append(fit)
                    del left[at]
                if len(ids) > 1:  # a shift has one fit for the whole table
                    break
    if too_few:
        few = "; ".join(too_few)
        notes.append(f"{known.name} has too few models for {few}; add models, or give another table of them")
    if not fits and len(ids) > 1:
        notes.append(f"no model of the results has {', '.join(ids)} and a shift")
    if notes and not fits:
        raise NoFitError(f"nothing can be measured: {notes[0]}")
    models = [_measure_model(result, own) for result, own in zip(results, chosen, strict=True)]
    # Of means of two forms, those on all classes stay, which every model can have.
    if len({model.mean.compared_on for model in models if model.mean}) > 1:
        for number, model in enumerate(models):
            if model.mean and model.mean.compared_on == SAME:
                models[number] = replace(model, mean=None, no_mean=_OTHER_FORM)
    return RobustnessReport(known, ids, tuple(models), tuple(fits), tuple(notes))


def _measure_model(result: Result, fits: Sequence[Fit]) -> ModelRobustness:
    shifts: dict[str, ShiftRobustness] = {}
    draws: dict[str, Floats] = {}
    names = list(IMAGES)
    for fit in fits:
        column = fit.shift.column
        accuracy, known = result.accuracies[column], result.row(fit.columns)
        # Accuracies on test sets drawn anew, but for those of unknown size.
        drawn = np.empty((len(known) + 1, DRAWS))
        for at, name in enumerate((*fit.columns, column)):
            size, percent = result.size(name), result.accuracies[name]
            seed = names.index(name) if name in names else len(names) + at
            drawn[at] = percent if size is None else draw_accuracies(percent, size, seed)
        draws[column] = drawn[-1] - fit.predict_draws(drawn[:-1].T.squeeze())
        predicted, ordinary = fit.predict(*known), fit.ordinary(known[0])
        is_lower = ordinary < logit(accuracy) - logit(predicted)
        scatter = fit.scatter(known[:1])
        slope = predicted / 100 * (100 - predicted)  # of points over logits
        shifts[column] = ShiftRobustness(
            value=accuracy - predicted,
            interval=middle(draws[column]),
            compared_on=fit.compared_on,
            mark=fit.mark(*known),
            fit=fit,
            predicted=predicted,
            deviation=None if scatter is None else float(scatter.item() * slope),
            below=100 * float(is_lower.mean()) if len(ordinary) else None,
            trainings=None if scatter is None else len(ordinary),
        )
    averaged = [shift for shift in SHIFTS if shift.averaged]
    missing = [shift.label for shift in averaged if shift.column not in shifts]
    parts = [shifts[shift.column] for shift in averaged if shift.column in shifts]
    forms = {part.compared_on for part in parts} - {None}
    mean, no_mean = None, ""
    if missing and IMAGENET not in result.accuracies:
        no_mean = "no ImageNet accuracy"
    elif missing:
        no_mean = f"for want of {', '.join(missing)}"
    elif len(forms) > 1:
        no_mean = "since of its R and ObjectNet one is compared on its own classes and the other on all 1000"
    else:
        mean = Robustness(
            value=float(np.mean([part.value for part in parts])),
            interval=middle(np.mean([draws[shift.column] for shift in averaged], axis=0)),
            compared_on=str(*forms),
            mark=worst([part.mark for part in parts]),
        )
    return ModelRobustness(result, shifts, mean, no_mean)


def worst(marks: Sequence[str]) -> str:
    """Return the mark that limits a value most."""
    return next((mark for mark in (EXTRAPOLATED, SPARSE) if mark in marks), "")


def write_notes(report: RobustnessReport) -> tuple[str, ...]:
    """Return the notes on a report: on its fits, then on its values, then on its cells and means."""
    notes = list(report.unfit)
    for fit in report.fits:
        label, r = fit.shift.label, fit.quality[0]
        if fit.left_out and fit.baseline not in BASELINES:  # docs/design/baseline-fit.md tells of those
            names = _listed(fit.left_out)
            notes.append(f"{label}: the fit leaves out {names}, at 0 % or 100 %, without a logit")
        if r < _LEAST_CORRELATION:
            notes.append(f"{label}: the line fits badly (r {r:.2f}), so read what lies above it with care")
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
            notes.append(
                f"sparse: the curve over {column} has fewer than {LEAST_NEAR} trainings within reach, "
                f"so the interval is not one at 95 %: {_listed(list(sparse.values()))}"
            )
        if beyond:
            (low,), (high,) = next(fit.ranges for fit in report.fits if fit.x_column == column)
            where = f"outside the fitted range of {column} ({low:.1f} to {high:.1f} %)"
            notes.append(f"extrapolated: {where}: {_listed(list(beyond))}")
    reasons: dict[str, list[str]] = {}
    for model in report.models:
        name = model.result.model
        for column, value in model.result.accuracies.items():
            if value in (0, 100):
                so = "logit space predicts nothing from it"
                if any(shift.column == column for shift in SHIFTS):
                    so = "drawn at the edge of the figure"
                notes.append(f"{_listed([name])} has {value:g} % in {column}: {so}")
        if IMAGENET not in model.result.accuracies:
            reasons.setdefault("no ImageNet accuracy", []).append(name)
        elif model.no_mean:
            reasons.setdefault(f"no mean, {model.no_mean}", []).append(name)
    mixed = []
    for shift in SHIFTS:
        cells = filter(None, (model.shifts.get(shift.column) for model in report.models))
        if len({cell.compared_on for cell in cells}) > 1:
            mixed.append(shift.label)
    if mixed:
        without = reasons.pop(f"no mean, {_OTHER_FORM}", [])
        note = (
            f"{', '.join(mixed)}: some models are compared on the shift's own classes and some on all 1000 (marked *), "
            "by two different curves; `all_classes=True` compares all alike"
        )
        notes.append(f"{note}, and gives a mean to {_listed(without)}" if without else note)
    notes += [f"{reason}: {_listed(names)}" for reason, names in reasons.items()]
    return tuple(dict.fromkeys(notes))


def _listed(names: Sequence[str]) -> str:
    return first_of([shortened(name, LONGEST_NAME) for name in names], 5)
