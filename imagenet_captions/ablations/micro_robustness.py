"""Effective robustness in miniature: how far above the line through the supervised runs, as the paper has it.

The testbed's line is about ImageNet models and says nothing about 32 x 32 images. Where an ablation has supervised runs
of three sizes or more, a line through them (logit against logit, as in Taori et al. 2020) is its counterpart here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.compare import Answers
from imagenet_captions.evaluation.intervals import DRAWS, middle

Floats = npt.NDArray[np.float64]

FEWEST = 3  # runs that a line is drawn through


@dataclass(frozen=True)
class Above:
    """How far an arm is above the line, in points, on the mean of the shifts; `outside` is beyond the line's runs."""

    value: float
    low: float
    high: float
    outside: bool


def above_line(
    answers: Mapping[str, Answers], baseline: Sequence[str], clean: str, shifts: Sequence[str], seed: int = 0
) -> dict[str, Above]:
    """Each run's effective robustness; the interval is that of test images drawn anew, for the line and all runs alike.

    Nothing, where the baseline has fewer than `FEWEST` runs, or all of them the same accuracy.
    """
    if len(baseline) < FEWEST:
        return {}
    names = list(answers)
    right = np.stack([[np.asarray(answers[name][each], np.float64) for each in (clean, *shifts)] for name in names])
    base = [names.index(name) for name in baseline]
    found = _above(right.mean(axis=2), base)
    if found is None:
        return {}
    generator = np.random.default_rng(seed)
    images = right.shape[2]
    draws = [_above(right[:, :, generator.integers(0, images, images)].mean(axis=2), base) for _ in range(DRAWS)]
    spread = np.stack([draw for draw in draws if draw is not None])
    accuracies = right[:, 0].mean(axis=1)
    lowest, highest = accuracies[base].min(), accuracies[base].max()
    return {
        name: Above(float(found[at]), *middle(spread[:, at]), bool(not lowest <= accuracies[at] <= highest))
        for at, name in enumerate(names)
    }


def line_through(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope and intercept in logit space, of accuracies between 0 and 1."""
    slope, intercept = np.polyfit(_logit(x), _logit(y), 1)
    return float(slope), float(intercept)


def on_line(line: tuple[float, float], x: Floats) -> Floats:
    """The line's accuracies at these."""
    slope, intercept = line
    return np.asarray(1 / (1 + np.exp(-(slope * _logit(x) + intercept))), dtype=np.float64)


def _above(accuracies: Floats, base: Sequence[int]) -> Floats | None:
    """Points above the line, the mean over the shifts, of accuracies [runs, 1 + shifts]."""
    clean = accuracies[:, 0]
    if np.ptp(clean[list(base)]) == 0:
        return None
    gaps = [
        accuracies[:, at] - on_line(line_through(clean[list(base)], accuracies[list(base), at]), clean)
        for at in range(1, accuracies.shape[1])
    ]
    return np.asarray(100 * np.mean(gaps, axis=0), dtype=np.float64)


def _logit(p: Floats) -> Floats:
    kept = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(kept / (1 - kept)), dtype=np.float64)
