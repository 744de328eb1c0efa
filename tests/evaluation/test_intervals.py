"""Intervals and statistics of differences between models, against scipy, statsmodels and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imagenet_captions.evaluation.intervals import (
    Pairs,
    clopper_pearson,
    draw_accuracies,
    holm,
    image_variances,
    mcnemar,
    middle,
    over_seeds_and_images,
    smallest_detectable,
)

stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(("right", "images"), [(0, 7), (1, 60), (30, 60), (60, 60), (10, 10)])
def test_each_end_leaves_a_tail_of_two_and_a_half_percent(right: int, images: int) -> None:
    low, high = (end / 100 for end in clopper_pearson(100 * right / images, images))
    assert stats.binom.sf(right - 1, images, low) == pytest.approx(0.025 if right else 1)
    assert stats.binom.cdf(right, images, high) == pytest.approx(0.025 if right < images else 1)
    assert low <= right / images <= high


def test_draws_spread_as_a_binomial() -> None:
    drawn = draw_accuracies(30.0, 500, seed=3)
    assert drawn.mean() == pytest.approx(30.0, abs=0.3)
    assert drawn.std() == pytest.approx(100 * math.sqrt(0.3 * 0.7 / 500), rel=0.1)
    assert (draw_accuracies(30.0, 500, seed=3) == drawn).all()
    assert (draw_accuracies(30.0, 500, seed=4) != drawn).any()
    assert middle(np.arange(1000, -1, -1)) == pytest.approx((25.0, 975.0))


TABLES = [(0, 0), (0, 1), (3, 3), (2, 10), (12, 12), (0, 24), (12, 13), (5, 20), (30, 50), (1200, 1600), (2500, 2500)]


@pytest.mark.parametrize(("only_first", "only_second"), TABLES)
def test_mcnemar_is_the_exact_test_less_half_of_what_was_seen(only_first: int, only_second: int) -> None:
    count, fewer = only_first + only_second, min(only_first, only_second)
    exact = stats.binomtest(fewer, count).pvalue if count else 1.0
    seen = stats.binom.pmf(fewer, count, 0.5)
    expected = 1.0 if only_first == only_second else exact - seen
    assert mcnemar(Pairs(10_000, only_first, only_second)) == pytest.approx(expected, rel=1e-8)


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
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("spread", [0.5, 1, 2])
def test_the_size_and_the_power_over_seeds(seeds: int, spread: float) -> None:
    size, _ = shares_found(seeds, spread, 0, 0, 1500)
    assert (0.03 if seeds > 2 else 0) <= size <= 0.07
    power, paired = shares_found(seeds, spread, 0, 3, 500)
    assert power >= 0.9 * paired - 0.01


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("by_image", [0.6, 1.5])
def test_the_size_where_arms_differ_image_by_image(seeds: int, by_image: float) -> None:
    assert all(shares_found(seeds, spread, by_image, 0, 1000)[0] <= 0.07 for spread in (0.5, 1, 2))


def test_seeds_and_images_are_estimated_apart() -> None:
    gaps = drawn_gaps(np.random.default_rng(7), 4, 1.0, 1.5, 0.0)
    of_mean, of_seeds = image_variances(gaps)
    within = [row.var(ddof=1) / IMAGES for row in gaps]
    assert of_seeds < of_mean < np.mean(within)
    found = over_seeds_and_images(gaps.mean(axis=1), of_mean, of_seeds)
    t = stats.ttest_1samp(gaps.mean(axis=1), 0).confidence_interval(0.95)
    assert found.low < t.low < found.value < t.high < found.high, "images add to what seeds say"
    same = over_seeds_and_images(gaps.mean(axis=1), of_seeds, of_mean)
    assert (same.low, same.high) == pytest.approx((t.low, t.high)), "without images it is the paired t test"
    assert same.p_value == pytest.approx(stats.ttest_1samp(gaps.mean(axis=1), 0).pvalue)


@pytest.mark.parametrize(("value", "p_value"), [(0.0, 1.0), (2.0, 0.0)])
def test_seeds_that_agree_to_the_last_digit(value: float, p_value: float) -> None:
    found = over_seeds_and_images([value, value], 0.0, 0.0)
    assert (found.low, found.high, found.p_value) == (value, value, p_value)


def test_holm_is_that_of_statsmodels() -> None:
    tests = pytest.importorskip("statsmodels.stats.multitest")
    values = [*np.random.default_rng(0).random(9).tolist(), 0.001, 0.001]
    assert holm(values) == pytest.approx(tests.multipletests(values, method="holm")[1])


@pytest.mark.parametrize("counts", [(500, 20, 60), (2000, 300, 250), (300, 0, 9), (60, 0, 0)])
def test_the_interval_is_bonett_and_prices(counts: tuple[int, int, int]) -> None:
    """Formula 2 of Bonett and Price 2012, as the paper writes it."""
    images, only_first, only_second = counts
    p12, p21 = (only_second + 1) / (images + 2), (only_first + 1) / (images + 2)
    half = stats.norm.ppf(0.975) * math.sqrt((p12 + p21 - (p12 - p21) ** 2) / (images + 2))
    assert Pairs(*counts).interval == pytest.approx((p12 - p21 - half, p12 - p21 + half))


@pytest.mark.parametrize(("images", "share"), [(500, 0.2), (10_000, 0.05), (50_000, 0.1)])
def test_the_smallest_detectable_effect_is_found_four_times_in_five(images: int, share: float) -> None:
    effect = smallest_detectable(Pairs(images, round(images * share / 2), round(images * share / 2)))
    chances = [(share - effect) / 2, (share + effect) / 2, 1 - share]
    drawn = np.random.default_rng(0).multinomial(images, chances, size=40_000)
    z = (drawn[:, 1] - drawn[:, 0]) / np.sqrt(np.maximum(1, drawn[:, 0] + drawn[:, 1]))
    assert (np.abs(z) > stats.norm.ppf(0.975)).mean() == pytest.approx(0.8, abs=0.015)


def test_the_smallest_detectable_effect_of_few_discordant_images() -> None:
    few = smallest_detectable(Pairs(4000, 1, 0))
    one_sided = stats.norm.ppf(0.975) * math.sqrt(few) + stats.norm.ppf(0.8) * math.sqrt(few - few**2)
    assert few * math.sqrt(4000) == pytest.approx(one_sided), "every discordant image lies on one side"
    assert smallest_detectable(Pairs(1, 0, 1)) == 1.0
