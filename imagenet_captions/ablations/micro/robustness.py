"""Effective robustness in miniature: how far a run lies above the line through the supervised runs.

The testbed's curves are about ImageNet models and say nothing about 32 x 32 images. Where an ablation has supervised
runs of three sizes or more, a line through them (logit against logit, as in Taori et al. 2020) is their counterpart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imagenet_captions.ablations.reports.compare import Answers, draw_seeds
from imagenet_captions.evaluation.intervals import DRAWS, middle
from imagenet_captions.evaluation.robustness.fits import EXTRAPOLATED

Floats = npt.NDArray[np.float64]

FEWEST = 3  # runs that a line is drawn through


@dataclass(frozen=True)
class Above:
    """How far a run lies above the line in points, averaged over the shifts; `outside` is beyond the line's runs."""

    value: float
    low: float
    high: float
    outside: bool


@dataclass(frozen=True, eq=False)
class Measured:
    """A quantity of each run by name, and its bootstrap draws, [draws].

    `marks` says `extrapolated` or `sparse` of runs whose accuracy the baseline has no models of, or few.
    """

    values: Mapping[str, float]
    draws: Mapping[str, Floats]
    marks: Mapping[str, str] = field(default_factory=dict)


def above_line(answers: Mapping[str, Answers], baseline: Sequence[str], clean: str, shifts: Sequence[str]) -> Measured:
    """Return each run's effective robustness; draws are over test images and over the seeds of the line's runs.

    Nothing, where the baseline has fewer than `FEWEST` runs, or all of them the same accuracy.
    """
    names = list(answers)
    base = [names.index(name) for name in baseline]
    exact, drawn = _accuracies(answers, (clean, *shifts))
    if len(base) < FEWEST or np.ptp(exact[:, base, 0]) == 0:
        return Measured({}, {})
    weights = np.ones((1, len(base)))
    found = _above(exact, base, weights)[0]
    spread = _above(drawn, base, _seed_weights(baseline))
    return Measured(
        {name: float(found[at]) for at, name in enumerate(names)},
        {name: spread[:, at] for at, name in enumerate(names)},
        _marks(dict(zip(names, exact[0, :, 0].tolist(), strict=True)), baseline),
    )


def _marks(accuracies: Mapping[str, float], baseline: Sequence[str]) -> dict[str, str]:
    """Return which runs lie beyond those of the line."""
    ends = [accuracies[name] for name in baseline]
    return {name: "" if min(ends) <= at <= max(ends) else EXTRAPOLATED for name, at in accuracies.items()}


def kept_log_odds(answers: Mapping[str, Answers], clean: str, shifts: Sequence[str]) -> Measured:
    """Return the change of each run's log-odds under the shifts, averaged; this needs no line.

    A weak model has less to lose in points, and not in log-odds.
    """
    exact, drawn = _accuracies(answers, (clean, *shifts))
    found, spread = (_logit(each[..., 1:]).mean(axis=-1) - _logit(each[..., 0]) for each in (exact, drawn))
    return Measured(
        {name: float(found[0, at]) for at, name in enumerate(answers)},
        {name: spread[:, at] for at, name in enumerate(answers)},
    )


def intervals(measured: Measured) -> dict[str, Above]:
    """Return the runs' values with their intervals, and whether they lie beyond the line's runs."""
    return {
        name: Above(value, *middle(measured.draws[name]), bool(measured.marks[name]))
        for name, value in measured.values.items()
    }


def line_through(x: Floats, y: Floats) -> tuple[float, float]:
    """Return slope and intercept in logit space, of accuracies between 0 and 1."""
    slope, intercept = np.polyfit(_logit(x), _logit(y), 1)
    return float(slope), float(intercept)


def on_line(line: tuple[float, float], x: Floats) -> Floats:
    """Return the line's accuracies at `x`."""
    slope, intercept = line
    return np.asarray(1 / (1 + np.exp(-(slope * _logit(x) + intercept))), dtype=np.float64)


def _accuracies(answers: Mapping[str, Answers], sets: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the runs' accuracies on the test sets, [1, runs, sets], and with images drawn again, [draws, runs, sets].

    The sets hold the same images in order, so that a draw takes the same ones of each.
    """
    right = np.stack([[np.asarray(each[name], np.float64) for name in sets] for each in answers.values()])
    runs, count, images = right.shape
    generator = np.random.default_rng(0)
    counts = generator.multinomial(images, np.full(images, 1 / images), size=DRAWS).astype(np.float64)
    drawn = counts @ right.reshape(runs * count, images).T / images
    return right.mean(axis=2)[None], drawn.reshape(DRAWS, runs, count)


def _seed_weights(baseline: Sequence[str]) -> Floats:
    """Return how often each of the line's runs counts in each draw; runs of one seed are drawn together."""
    seeds = [name.rpartition("-s")[2] for name in baseline]
    drawn = draw_seeds(len(set(seeds)))
    place = {seed: at for at, seed in enumerate(dict.fromkeys(seeds))}
    return drawn[:, [place[seed] for seed in seeds]]


def _above(accuracies: Floats, base: Sequence[int], weights: Floats) -> Floats:
    """Return mean points above the line over the shifts, [draws, runs], of accuracies [draws, runs, 1 + shifts]."""
    logits = _logit(accuracies)
    x = logits[:, base, 0]
    total = weights.sum(axis=1, keepdims=True)
    x_mean = (weights * x).sum(axis=1, keepdims=True) / total
    variance = (weights * (x - x_mean) ** 2).sum(axis=1)
    gaps = []
    for at in range(1, accuracies.shape[2]):
        y = logits[:, base, at]
        y_mean = (weights * y).sum(axis=1, keepdims=True) / total
        slope = (weights * (x - x_mean) * (y - y_mean)).sum(axis=1) / np.maximum(variance, 1e-12)
        predicted = y_mean + slope[:, None] * (logits[:, :, 0] - x_mean)
        gaps.append(accuracies[:, :, at] - 1 / (1 + np.exp(-predicted)))
    return np.asarray(100 * np.mean(gaps, axis=0), dtype=np.float64)


def _logit(p: Floats) -> Floats:
    kept = np.clip(p, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(kept / (1 - kept)), dtype=np.float64)
