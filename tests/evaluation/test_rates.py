"""How often the inference errs, by simulation: differences between arms over seeds, and intervals of the baseline.

`python -m tests.evaluation.test_rates` prints the rates for more seeds, with more draws.
"""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from scipy import stats

from imagenet_captions.evaluation.intervals import image_variances, over_seeds_and_images
from imagenet_captions.evaluation.robustness.fits import fit_baseline, fit_local, inverse_logit, logit
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS
from imagenet_captions.evaluation.robustness.tables import IMAGES as TEST_IMAGES

BY_COLUMN = {shift.column: shift for shift in SHIFTS}
IMAGES = 400


def drawn_gaps(rng: np.random.Generator, seeds: int, spread: float, by_image: float, effect: float) -> np.ndarray:
    """Return differences `[seeds, images]` between two arms on 400 images of their own difficulty.

    Two arms differ by `effect`, their seeds by `spread`, both in errors of a difference from the choice of images,
    and images by `by_image` in log-odds, with mean zero.
    """
    logits = rng.normal(1.2, 2, IMAGES)
    shares = 1 / (1 + np.exp(-logits))
    error = np.sqrt(2 * (shares * (1 - shares)).mean() / IMAGES)
    in_logits = error / (shares * (1 - shares)).mean()
    other = logits + rng.normal(0, by_image, IMAGES) + effect * in_logits
    gaps = np.empty((seeds, IMAGES))
    for seed in range(seeds):
        shifts = rng.normal(0, spread * in_logits / np.sqrt(2), 2)
        right = [
            rng.random(IMAGES) < 1 / (1 + np.exp(-each - shift))
            for each, shift in zip((other, logits), shifts, strict=True)
        ]
        gaps[seed] = right[0].astype(float) - right[1]
    return gaps


def shares_found(seeds: int, spread: float, by_image: float, effect: float, draws: int) -> tuple[float, float]:
    """Return how often 5 % finds a difference: by our rule, and by a paired t test over seeds."""
    rng = np.random.default_rng([seeds, int(10 * spread), int(10 * by_image), int(effect)])
    gaps = [drawn_gaps(rng, seeds, spread, by_image, effect) for _ in range(draws)]
    middle = np.mean([each.mean() for each in gaps]) if by_image else 0.0  # images that differ move accuracies too
    ours = [over_seeds_and_images(each.mean(axis=1) - middle, *image_variances(each)).p_value < 0.05 for each in gaps]
    means = np.array([each.mean(axis=1) - middle for each in gaps])
    t = np.abs(means.mean(axis=1)) / np.maximum(means.std(axis=1, ddof=1), 1e-12) * np.sqrt(seeds)
    return float(np.mean(ours)), float((t > stats.t.isf(0.025, seeds - 1)).mean())


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.5), (2, 2), (3, 1), (10, 2)])
def test_the_size_and_the_power_over_seeds(seeds: int, spread: float) -> None:
    size, _ = shares_found(seeds, spread, 0, 0, 1000)
    assert (0.03 if seeds > 2 else 0) <= size <= 0.07
    power, paired = shares_found(seeds, spread, 0, 3, 300)
    assert power >= 0.9 * paired - 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "spread"), [(2, 1), (5, 0.5)])
def test_the_size_where_arms_differ_image_by_image(seeds: int, spread: float) -> None:
    assert shares_found(seeds, spread, 1.5, 0, 800)[0] <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("x", "y"), [(IMAGENET, "imagenet-v2"), ("imagenet_on_objectnet_classes", "objectnet")])
def test_intervals_hold_the_curve_where_they_are_not_marked(x: str, y: str) -> None:
    """With trainings drawn around the curve of `auto`, the checkpoints of one off together, and an ordinary model."""
    fit = fit_baseline("auto", BY_COLUMN[y], x)
    assert fit.near is not None
    places = logit(fit.x[:, 0])
    curve, spread = fit.curve.at(places), fit.scatter(fit.x[:, 0])
    asked = np.array([value for value in range(10, 97, 2) if not fit.mark(float(value))], dtype=float)
    truth, generator, held = fit.curve.at(logit(asked)), np.random.default_rng(0), []
    shares = inverse_logit(truth) / 100
    of_model = 1 / np.sqrt(TEST_IMAGES[y] * shares * (1 - shares))
    z = generator.standard_normal((200, fit.runs.max() + 1))
    for off in generator.standard_normal((100, fit.runs.max() + 1)):
        drawn = fit_local(places, curve + spread * off[fit.runs], fit.runs, z)
        error = np.array([drawn.draws.at([logit(value)] * 200).std() for value in asked])
        model = truth + generator.standard_normal(len(asked)) * of_model
        held.append(np.abs(drawn.curve.at(logit(asked)) - model) < 1.96 * np.sqrt(error**2 + of_model**2))
    assert 0.90 <= np.mean(held) <= 0.98


if __name__ == "__main__":
    sys.stdout.write("seeds  spread  by image   size  power  of paired t\n")
    for seeds, spread, by_image in itertools.product((2, 3, 5, 10), (0.5, 1, 2), (0, 1.5)):
        size = shares_found(seeds, spread, by_image, 0, 1500)[0]
        power, paired = shares_found(seeds, spread, by_image, 3, 500)
        sys.stdout.write(f"{seeds:5}  {spread:6}  {by_image:8}  {size:5.3f}  {power:5.3f}  {paired:5.3f}\n")
