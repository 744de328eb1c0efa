"""How well a fit describes ordinary models: their mean residuals along the x axis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from imagenet_captions.evaluation.intervals import Floats
from imagenet_captions.evaluation.robustness.baseline import BIN, LEAST_IN_BIN, Fit, bin_of
from imagenet_captions.evaluation.robustness.baseline_members import BASELINES, named_baseline
from imagenet_captions.evaluation.robustness.curves import inverse_logit, leave_one_out, logit
from imagenet_captions.evaluation.robustness.effective_robustness import RobustnessReport
from imagenet_captions.evaluation.robustness.results import Result

BAR = 1.0  # points that the mean residual of a bin with enough models may have


@dataclass(frozen=True)
class AccuracyBin:
    """Ordinary models in ten points of the x axis: accuracy minus prediction in points, on average.

    `left_out` is the same with each model predicted by a fit without it.
    """

    number: int
    models: int
    mean: float
    left_out: float

    @property
    def within(self) -> bool:
        """Whether both means are within the bar, or there are too few models to tell."""
        return self.models < LEAST_IN_BIN or max(abs(self.mean), abs(self.left_out)) <= BAR


def residual_bins(fit: Fit) -> tuple[AccuracyBin, ...]:
    """Return the bins of a fit that hold ordinary models, from the lowest to the highest.

    Of a baseline of the testbed all ordinary models count, in the fit or not: its line is used for them as well.
    """
    models = [model for model in _ordinary(fit) if _has_both(model, fit)]
    x, y = (np.array([model.accuracies[column] for model in models]) for column in (fit.x_column, fit.shift.column))
    residuals, without = y - fit.predict_all(x), y - _predict_without(fit, models, x)
    bins = np.array([bin_of(value) for value in x])
    return tuple(
        AccuracyBin(
            number,
            int((bins == number).sum()),
            float(residuals[bins == number].mean()),
            float(without[bins == number].mean()),
        )
        for number in sorted(set(bins.tolist()))
    )


def format_residuals(report: RobustnessReport) -> str:
    """Return the residual table of a report's fits, one line for each kind of number."""
    lines = [
        f"Residuals of ordinary ImageNet models: accuracy less prediction, the mean in each {BIN} points of ImageNet",
        f"accuracy. A bin of {LEAST_IN_BIN} models or more should be within {BAR:g} point; ! marks one that is not.",
        "left out: each model predicted by a fit without it",
    ]
    for fit in report.fits:
        lines += ["", *_format_fit(fit, residual_bins(fit))]
    return "\n".join(lines)


def _format_fit(fit: Fit, bins: tuple[AccuracyBin, ...]) -> Iterable[str]:
    counted = [max(abs(each.mean), abs(each.left_out)) for each in bins if each.models >= LEAST_IN_BIN]
    yield f"{fit.shift.column} from {fit.x_column}: at most {max(counted, default=0):.2f}"
    rows = {
        "": [f"{each.number * BIN}-{(each.number + 1) * BIN}" for each in bins],
        "models": [f"{each.models}" for each in bins],
        "residual": [f"{each.mean:+.2f}" for each in bins],
        "left out": [f"{each.left_out:+.2f}{'' if each.within else '!'}" for each in bins],
    }
    for name, cells in rows.items():
        yield f"  {name:<9}" + "".join(f"{cell:>9}" for cell in cells)


def _predict_without(fit: Fit, models: list[Result], x: Floats) -> Floats:
    """Return for each model the prediction of a fit without it; for one outside the fit, that of the fit."""
    predicted = fit.predict_all(x)
    inside = [model in fit.models for model in models]
    shifted = [model.accuracies[fit.shift.column] for model in models]
    predicted[inside] = inverse_logit(leave_one_out(logit(x)[inside], logit(shifted)[inside], fit.local))
    return predicted


def _ordinary(fit: Fit) -> tuple[Result, ...]:
    return named_baseline("auto").models if fit.baseline in BASELINES else fit.models


def _has_both(model: Result, fit: Fit) -> bool:
    return all(0 < model.accuracies.get(column, 0.0) < 100 for column in (fit.x_column, fit.shift.column))
