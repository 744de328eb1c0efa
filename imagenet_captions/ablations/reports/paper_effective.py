"""Effective robustness of an ablation's runs by the testbed's curves, with draws for comparing two arms.

The curves are the very fits of the report's table and figure. A draw takes test images anew, the same for every run,
and one curve of each fit's bootstrap, the same for every run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imagenet_captions.ablations.micro.robustness import Floats, Measured
from imagenet_captions.ablations.reports.compare import Answers
from imagenet_captions.evaluation.intervals import DRAWS
from imagenet_captions.evaluation.robustness.fits import EXTRAPOLATED, SPARSE, fit_baseline
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Shift

BASELINE = "auto"
MEAN = "the mean of"


def shifts_among(tests: Sequence[str]) -> list[Shift]:
    """Return the shifts among test sets, if ImageNet is one of the sets."""
    return [shift for shift in SHIFTS if shift.column in tests] if IMAGENET in tests else []


def effective_robustness(answers: Mapping[str, Answers], tests: Sequence[str]) -> dict[str, Measured]:
    """Return each run's effective robustness in points, for each shift and for the paper's mean.

    All are compared on all 1000 classes, as the report's table and figure are.
    """
    shifts = shifts_among(tests)
    exact = {name: {run: _percent(each[name]) for run, each in answers.items()} for name in tests}
    drawn = {name: _drawn(answers, name, seed) for seed, name in enumerate(tests)}
    found: dict[str, Measured] = {}
    for shift in shifts:
        fit = fit_baseline(BASELINE, shift, IMAGENET)
        found[shift.column] = Measured(
            {run: exact[shift.column][run] - fit.predict(exact[IMAGENET][run]) for run in answers},
            {run: drawn[shift.column][run] - fit.predict_draws(drawn[IMAGENET][run]) for run in answers},
            {run: fit.mark(exact[IMAGENET][run]) for run in answers},
        )
    averaged = [shift.column for shift in shifts if shift.averaged]
    if len(averaged) > 1:
        found[f"{MEAN} {', '.join(averaged)}"] = Measured(
            {run: float(np.mean([found[name].values[run] for name in averaged])) for run in answers},
            {run: np.mean([found[name].draws[run] for name in averaged], axis=0) for run in answers},
            {run: worst([found[name].marks[run] for name in averaged]) for run in answers},
        )
    return found


def worst(marks: Sequence[str]) -> str:
    """Return the mark that limits a value most.

    >>> worst(["", "sparse", "extrapolated"]), worst([""])
    ('extrapolated', '')
    """
    return next((mark for mark in (EXTRAPOLATED, SPARSE) if mark in marks), "")


def _percent(right: object) -> float:
    return 100 * float(np.mean(np.asarray(right, np.float64)))


def _drawn(answers: Mapping[str, Answers], name: str, seed: int) -> dict[str, Floats]:
    """Return the runs' accuracies in percent on a test set with images drawn again, the same for all runs.

    Images on which the runs' answers are alike are drawn together: there are few such patterns.
    """
    right = np.stack([np.asarray(each[name], np.uint8) for each in answers.values()])
    patterns, counts = np.unique(right, axis=1, return_counts=True)
    generator = np.random.default_rng([3, seed])
    images = right.shape[1]
    draws = generator.multinomial(images, counts / images, size=DRAWS).astype(np.float64)
    accuracies = 100 * draws @ patterns.T / images
    return {run: accuracies[:, at] for at, run in enumerate(answers)}
