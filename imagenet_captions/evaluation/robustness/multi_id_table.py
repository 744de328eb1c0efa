"""The cells and lines that several ID test sets add to ER.csv and to the table for the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imagenet_captions.evaluation.robustness.multi_id import MultiIdModel, MultiIdReport
from imagenet_captions.evaluation.robustness.plane import Plane

_VALUE = ("_effective_robustness", "_effective_robustness_low", "_effective_robustness_high")
_MEAN = tuple(f"mean_multi_id{ending}" for ending in (*_VALUE, "_compared_on", "_mark"))


def multi_id_columns(report: MultiIdReport) -> list[str]:
    """Return the columns of ER.csv: for each shift, for the mean, and the ID sets."""
    return [*(name for fit in report.fits for name in _columns(fit)), *_MEAN, "multi_id_sets"]


def multi_id_cells(model: MultiIdModel, report: MultiIdReport) -> dict[str, str]:
    """Return a model's cells of these columns; R² and MAE are the fit's, the same in every row."""
    cells = {"multi_id_sets": report.name}
    for fit, single in zip(report.fits, report.single, strict=True):
        found = model.shifts.get(fit.shift.column)
        if found is not None:
            values = map(_number, (found.value, *found.interval, found.predicted))
            quality = map(_number, (fit.r2, fit.mae, single.r2, single.mae))
            cells |= zip(_columns(fit), (*values, found.compared_on or "", found.mark, *quality), strict=True)
    if model.mean is not None:
        values = map(_number, (model.mean.value, *model.mean.interval))
        cells |= zip(_MEAN, (*values, model.mean.compared_on, model.mean.mark), strict=True)
    return cells


def _columns(fit: Plane) -> list[str]:
    endings = (*_VALUE, "_predicted", "_compared_on", "_mark", "_r2", "_mae")
    single = (f"{fit.shift.column}_single_id{ending}" for ending in ("_r2", "_mae"))
    return [*(f"{fit.shift.column}_multi_id{ending}" for ending in endings), *single]


def format_planes(report: MultiIdReport) -> Iterable[str]:
    """Yield the lines about the fits: each beside the fit of the same models on the first ID set alone."""
    yield f"baseline {report.name}: linear in logit space over the models of {report.over} (Shi et al. 2023)"
    for fit, single in zip(report.fits, report.single, strict=True):
        yield f"  {fit.shift.column} from {', '.join(fit.columns)}: {_shape(fit)}, {format_quality(fit)}"
        yield f"  {fit.shift.column} from {single.columns[0]} alone, the same models: {format_quality(single)}"
    yield "R² is of the logits, the mean absolute error (MAE) of the accuracies"


def format_quality(fit: Plane) -> str:
    """Return how well a fit describes its models."""
    return f"n {fit.n}, R² {fit.r2:.4f}, MAE {fit.mae:.2f} points"


def _shape(fit: Plane) -> str:
    intercept, *slopes = (f"{value:.4f}" for value in fit.coefficients)
    return f"slopes {_listed(slopes)}, intercept {intercept}"


def _listed(texts: Sequence[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]])


def _number(value: float) -> str:
    return f"{value:.4f}"
