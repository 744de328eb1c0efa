"""Notes for the reader beside the values of `measure_robustness`, as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from imagenet_captions.evaluation.robustness.baseline import EXTRAPOLATED, LEAST_IN_BIN, SPARSE, Fit
from imagenet_captions.evaluation.robustness.effective_robustness import RobustnessReport
from imagenet_captions.evaluation.robustness.results import readable
from imagenet_captions.evaluation.robustness.shifts import IMAGENET, SHIFTS

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
