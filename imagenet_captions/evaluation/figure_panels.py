"""What the panels of the robustness figure show, before anything is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagenet_captions.evaluation.baseline import Fit, fit_baseline, inverse_logit, logit
from imagenet_captions.evaluation.intervals import Floats, clopper_pearson, exact_intervals_possible, middle
from imagenet_captions.evaluation.results import Result
from imagenet_captions.evaluation.robustness import Report
from imagenet_captions.evaluation.shifts import IMAGENET, SHIFTS, Shift, images_of

MEAN_LABEL = "Mean of V2, R, Sketch, ObjectNet"
YOURS = "your models"
PUBLISHED_SUFFIX = " (published)"
_EDGE = (0.05, 99.95)  # where 0 % and 100 %, which have no logit, are drawn


@dataclass(frozen=True)
class Panel:
    """What one panel shows: its lines' fits (several make the mean), and where a model stands in it."""

    label: str
    fits: tuple[Fit, ...]

    def place(self, result: Result) -> tuple[float, float] | None:
        """ImageNet accuracy and accuracy under shift, or None where one is missing."""
        columns = [fit.shift.column for fit in self.fits]
        x_column = self.fits[0].x_column
        if x_column not in result.accuracies or any(column not in result.accuracies for column in columns):
            return None
        return result.accuracies[x_column], float(np.mean([result.accuracies[column] for column in columns]))

    def predict(self, x: Floats) -> Floats:
        """The baseline's curve; the mean's is the mean of the lines, so that distances to it are the mean's values."""
        curves = [inverse_logit(fit.slope * logit(x) + fit.intercept) for fit in self.fits]
        return np.asarray(np.mean(curves, axis=0), dtype=np.float64)

    def band(self, x: Floats) -> tuple[Floats, Floats]:
        """The middle 95 % of the bootstrap's curves."""
        ends = [middle(np.mean([fit.predict_draws(value) for fit in self.fits], axis=0)) for value in x]
        return np.array([low for low, _ in ends]), np.array([high for _, high in ends])

    def exact_interval(self, result: Result) -> list[tuple[float, float]] | None:
        """The ends of the accuracy's Clopper-Pearson interval, as places; none for the mean, or without scipy."""
        place = self.place(result)
        if place is None or len(self.fits) > 1 or not exact_intervals_possible():
            return None
        column = self.fits[0].shift.column
        return [(place[0], end) for end in clopper_pearson(place[1], result.images.get(column, images_of(column)))]

    def limits(self, models: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
        """The axes' ends in percent: all models with a margin, and the line over the same range."""
        x, y = to_logits(models)
        x_low, x_high = x.min() - 0.35, x.max() + 0.35
        line = logit(self.predict(inverse_logit([x_low, x_high])))
        y_low, y_high = min(y.min(), line.min()) - 0.25, max(y.max(), line.max()) + 0.25
        left, right, bottom, top = inverse_logit([x_low, x_high, y_low, y_high])
        return (float(left), float(right)), (float(bottom), float(top))


def group_families(results: Sequence[Result], published: Sequence[Result]) -> dict[str, list[Result]]:
    """Models by the name in the legend, the published first."""
    families: dict[str, list[Result]] = {}
    for result in published:
        families.setdefault(result.family + PUBLISHED_SUFFIX, []).append(result)
    for result in results:
        families.setdefault(result.family or YOURS, []).append(result)
    return families


def make_panels(report: Report, shown: Sequence[Result]) -> list[Panel]:
    """The mean, where a model of the report has one, and every shift that its models have.

    A panel has one ImageNet axis: that of the shift's own classes only if every model shown in it has that accuracy.
    """
    panels = []
    averaged = [shift for shift in SHIFTS if shift.averaged]
    if any(model.mean is not None for model in report.models):
        panels.append(Panel(MEAN_LABEL, tuple(fit_baseline(report.baseline, shift, IMAGENET) for shift in averaged)))
    for shift in SHIFTS:
        if any(shift.column in model.shifts for model in report.models):
            x_column = IMAGENET if report.all_classes else _axis_column(shift, shown)
            panels.append(Panel(shift.label, (fit_baseline(report.baseline, shift, x_column),)))
    return panels


def _axis_column(shift: Shift, shown: Sequence[Result]) -> str:
    if shift.same_classes is None:
        return IMAGENET
    for result in shown:
        if {shift.column, IMAGENET} <= result.accuracies.keys() and shift.same_classes not in result.accuracies:
            return IMAGENET
    return shift.same_classes


def to_logits(places: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    points = np.clip(np.array(places, dtype=np.float64).reshape(-1, 2), *_EDGE)
    return logit(points[:, 0]), logit(points[:, 1])
