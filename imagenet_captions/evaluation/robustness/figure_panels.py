"""The contents of the panels of the robustness figure, computed before anything is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from imagenet_captions.evaluation.intervals import Floats, clopper_pearson, exact_intervals_possible, middle
from imagenet_captions.evaluation.robustness.baseline import EXTRAPOLATED, SPARSE, Fit
from imagenet_captions.evaluation.robustness.curves import inverse_logit, logit
from imagenet_captions.evaluation.robustness.effective_robustness import ALL, SAME, RobustnessReport
from imagenet_captions.evaluation.robustness.multi_id import MultiIdReport
from imagenet_captions.evaluation.robustness.multi_id_table import format_quality
from imagenet_captions.evaluation.robustness.results import Result

MEAN_LABEL = "Mean of V2, R, Sketch, ObjectNet"
YOURS = "your models"
PUBLISHED_SUFFIX = " (published)"
_EDGE = (0.05, 99.95)  # where 0 % and 100 %, which have no logit, are drawn


@dataclass(frozen=True)
class Panel:
    """One panel: the fits whose curves it shows (four make the mean), the models in it by family, and a note."""

    label: str
    fits: tuple[Fit, ...]
    families: Mapping[str, Sequence[Result]]
    note: str = ""

    def point(self, result: Result) -> tuple[float, float]:
        """Return ImageNet accuracy and accuracy under shift of a model in it, or of one of the fits'."""
        shifted = [result.accuracies[fit.shift.column] for fit in self.fits]
        return result.accuracies[self.fits[0].x_column], float(np.mean(shifted))

    def fitted(self) -> list[Result]:
        """Return the models that all of its curves are fitted over."""
        return [model for model in self.fits[0].models if all(model in fit.models for fit in self.fits)]

    def mark(self, imagenet: float) -> str:
        """Return how far the curve can be relied on there: `extrapolated`, `sparse` or nothing."""
        marks = {fit.mark(imagenet) for fit in self.fits}
        return next((mark for mark in (EXTRAPOLATED, SPARSE) if mark in marks), "")

    def predict(self, x: Floats) -> Floats:
        """Return the baseline's curve; that of the mean is the mean of four, so heights above it are its values."""
        return np.asarray(np.mean([fit.predict_all(x) for fit in self.fits], axis=0), dtype=np.float64)

    def band(self, x: Floats) -> tuple[Floats, Floats]:
        """Return the ends of the middle 95 % of the bootstrap's curves."""
        ends = [middle(np.mean([fit.predict_draws(value) for fit in self.fits], axis=0)) for value in x]
        return np.array([low for low, _ in ends]), np.array([high for _, high in ends])

    def exact_interval(self, result: Result) -> list[tuple[float, float]] | None:
        """Return the ends of the accuracy's Clopper-Pearson interval as points; none for the mean, or without scipy."""
        if len(self.fits) > 1 or not exact_intervals_possible():
            return None
        point, images = self.point(result), result.size(self.fits[0].shift.column)
        return None if images is None else [(point[0], end) for end in clopper_pearson(point[1], images)]

    def limits(self, models: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the axes' ends in percent: all models with a margin, and the curve over the same range."""
        x, y = to_logits(models)
        x_low, x_high = x.min() - 0.35, x.max() + 0.35
        curve = logit(self.predict(inverse_logit([x_low, x_high])))
        y_low, y_high = min(y.min(), curve.min()) - 0.25, max(y.max(), curve.max()) + 0.25
        left, right, bottom, top = inverse_logit([x_low, x_high, y_low, y_high])
        return (float(left), float(right)), (float(bottom), float(top))


def group_families(results: Sequence[Result], published: Sequence[Result]) -> dict[str, list[Result]]:
    """Return models by their name in the legend, the published ones first."""
    families: dict[str, list[Result]] = {}
    for result in published:
        families.setdefault(result.family + PUBLISHED_SUFFIX, []).append(result)
    for result in results:
        families.setdefault(result.family or YOURS, []).append(result)
    return families


def make_panels(
    report: RobustnessReport, published: Sequence[Result] = (), multi: MultiIdReport | None = None
) -> list[Panel]:
    """Return a panel for each fit of the report, with the models whose values rest on it and published ones beside.

    With `multi`, a note says how well the fit on several ID sets describes its models.

    The mean comes first where the table has one on all 1000 classes; on the shifts' own classes a model has no single
    ImageNet accuracy to stand at.
    """
    planes = multi.fits if multi is not None else ()
    notes = {plane.shift.column: f"{len(plane.columns)} ID sets: {format_quality(plane)}" for plane in planes}
    panels = []
    averaged = [model.result for model in report.models if model.mean and model.mean.compared_on == ALL]
    if averaged:
        fits = tuple(fit for fit in report.fits if fit.shift.averaged and not fit.same_classes)
        panels.append(_make_panel(MEAN_LABEL, fits, averaged, published))
    shifts = [fit.shift for fit in report.fits]
    for fit in report.fits:
        label = fit.shift.label
        if shifts.count(fit.shift) > 1:
            label += f", {SAME if fit.same_classes else ALL}"
        measured = [model.result for model in report.models if any(found.fit is fit for found in model.shifts.values())]
        panel = _make_panel(label, (fit,), measured, published)
        panels.append(replace(panel, note=notes.get(fit.shift.column, "")))
    return panels


def _make_panel(label: str, fits: tuple[Fit, ...], results: Sequence[Result], published: Sequence[Result]) -> Panel:
    columns = {fits[0].x_column, *(fit.shift.column for fit in fits)}
    beside = [result for result in published if columns <= result.accuracies.keys()]
    return Panel(label, fits, group_families(results, beside))


def to_logits(points: Sequence[tuple[float, float]]) -> tuple[Floats, Floats]:
    clipped = np.clip(np.array(points, dtype=np.float64).reshape(-1, 2), *_EDGE)
    return logit(clipped[:, 0]), logit(clipped[:, 1])
