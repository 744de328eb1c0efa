"""The linear fit of one logit on several others, with its bootstrap; `multi_id` measures by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imagenet_captions.evaluation.intervals import DRAWS, Floats, draw_accuracies
from imagenet_captions.evaluation.robustness.baseline import EXTRAPOLATED, NoFitError, resamples
from imagenet_captions.evaluation.robustness.curves import FARTHEST, inverse_logit, logit
from imagenet_captions.evaluation.robustness.results import Result
from imagenet_captions.evaluation.robustness.shifts import Shift, accuracy_columns

LEAST_PER_SET = 5  # models that a fit takes for each ID set
_MOST_EXPLAINED = 0.999  # of an ID set's variance by the others: above it, the coefficients are arbitrary
_WORST_CONDITION = 1e12  # of a draw's equations; a draw of few distinct models has no plane


@dataclass(frozen=True, eq=False)
class Plane:
    """A linear fit in logit space of the accuracy under a shift on those of `columns`, and the models that it is over.

    `coefficients` are the intercept and a slope for each column; `draws` has such a row for each bootstrap sample. `r2`
    is the share of the variance explained, in logits; `mae` is the mean absolute error in percentage points. `left_out`
    names models at 0 % or 100 %, which have no logit.
    """

    shift: Shift
    columns: tuple[str, ...]
    models: tuple[Result, ...]
    left_out: tuple[str, ...]
    coefficients: Floats
    draws: Floats
    r2: float
    mae: float

    @property
    def n(self) -> int:
        """The number of models in the fit."""
        return len(self.models)

    @property
    def same_classes(self) -> bool:
        """Whether it predicts from accuracies on the shift's own classes."""
        return self.shift.same_classes is not None and self.columns[0].endswith(self.shift.on_own_classes(""))

    def predict(self, accuracies: Sequence[float]) -> float:
        """Return the accuracy under shift of a model with these accuracies, in the order of the columns."""
        return inverse_logit(self.coefficients[0] + self.coefficients[1:] @ logit(accuracies)).item()

    def predict_draws(self, accuracies: Floats) -> Floats:
        """Return the same by each draw's plane, for a row of accuracies each."""
        logits = np.clip(logit(accuracies), -FARTHEST, FARTHEST)
        return inverse_logit(self.draws[:, 0] + (self.draws[:, 1:] * logits).sum(axis=1))

    def mark(self, accuracies: Sequence[float]) -> str:
        """Return `extrapolated` if an accuracy is outside the range of the fit's models, else ''."""
        table = np.array([[model.accuracies[column] for column in self.columns] for model in self.models])
        outside = (accuracies < table.min(axis=0)) | (accuracies > table.max(axis=0))
        return EXTRAPOLATED if outside.any() else ""


def fit_plane(models: Sequence[Result], shift: Shift, columns: tuple[str, ...], over: str) -> Plane:
    """Fit by least squares over the models of the table `over`; raises NoFitError if they do not determine a plane."""
    wanted = (*columns, shift.column)
    known = [model for model in models if all(column in model.accuracies for column in wanted)]
    used = [model for model in known if all(0 < model.accuracies[column] < 100 for column in wanted)]
    _check_count(used, wanted, over)
    x = np.stack([logit([model.accuracies[column] for model in used]) for column in columns], axis=1)
    accuracies = np.array([model.accuracies[shift.column] for model in used])
    y = logit(accuracies)
    _check_independence(x, columns, over)
    design = np.column_stack([np.ones(len(used)), x])
    coefficients = np.asarray(np.linalg.lstsq(design, y, rcond=None)[0], dtype=np.float64)
    predicted = design @ coefficients
    return Plane(
        shift=shift,
        columns=columns,
        models=tuple(used),
        left_out=tuple(model.model for model in known if model not in used),
        coefficients=coefficients,
        draws=_bootstrap(design, y, coefficients),
        r2=1 - float(((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()),
        mae=float(np.abs(accuracies - inverse_logit(predicted)).mean()),
    )


def draw_columns(result: Result, columns: Sequence[str]) -> Floats:
    """Return a model's accuracies on test sets drawn anew, [draws, columns]; sets of unknown size are not drawn."""
    names = list(accuracy_columns())
    drawn = []
    for place, column in enumerate(columns):
        size = result.size(column)
        seed = names.index(column) if column in names else len(names) + place
        percent = result.accuracies[column]
        drawn.append(np.full(DRAWS, percent) if size is None else draw_accuracies(percent, size, seed))
    return np.stack(drawn, axis=1)


def _check_count(used: Sequence[Result], columns: Sequence[str], over: str) -> None:
    sets = len(columns) - 1
    if len(used) < LEAST_PER_SET * sets:
        raise NoFitError(
            f"{over} has {len(used)} models with {', '.join(columns[:-1])} and {columns[-1]} above 0 and below 100 %; "
            f"a fit on {sets} `id_sets` takes {LEAST_PER_SET * sets}; add models, or give another table of them"
        )


def _check_independence(x: Floats, columns: Sequence[str], over: str) -> None:
    """Refuse ID sets of which one follows from the others."""
    for place, column in enumerate(columns):
        own, others = x[:, place], np.column_stack([np.ones(len(x)), np.delete(x, place, axis=1)])
        left = own - others @ np.linalg.lstsq(others, own, rcond=None)[0]
        spread = own - own.mean()
        if left @ left <= (1 - _MOST_EXPLAINED) * (spread @ spread) or np.ptp(own) < 1e-9:
            raise NoFitError(
                f"the accuracies on {column} follow from those on the other `id_sets` in {over}, so their shares "
                f"cannot be told apart; leave {column} out, or add models of other training data"
            )


def _bootstrap(design: Floats, y: Floats, coefficients: Floats) -> Floats:
    """Return the coefficients for each draw of models; a draw that has none takes those of all models."""
    weights = resamples(len(y))
    left = np.einsum("dn,ni,nj->dij", weights, design, design)
    right = weights @ (design * y[:, None])
    sound = np.linalg.cond(left) < _WORST_CONDITION
    draws: Floats = np.tile(coefficients, (len(weights), 1))
    draws[sound] = np.linalg.solve(left[sound], right[sound][..., None])[..., 0]
    return draws
