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


def test_seeds_and_images_are_estimated_apart() -> None:
    generator = np.random.default_rng(7)
    seeds, images = 4, 400
    gaps = (
        generator.normal(size=images) + generator.normal(size=(seeds, 1)) / 20 + generator.normal(size=(seeds, images))
    )
    of_mean, of_seeds = image_variances(gaps)
    mean, by_seed, by_image = gaps.mean(), gaps.mean(axis=1), gaps.mean(axis=0)
    assert of_mean == pytest.approx(sum((each - mean) ** 2 for each in by_image) / (images - 1) / images)
    apart = [gaps[s, i] - by_seed[s] - by_image[i] + mean for s in range(seeds) for i in range(images)]
    square = sum(each**2 for each in apart) / ((seeds - 1) * (images - 1))
    assert of_seeds == pytest.approx(square / (seeds * images))
    found = over_seeds_and_images(by_seed, of_mean, of_seeds)
    t = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    between, of_images = by_seed.var(ddof=1) / seeds, of_mean - of_seeds
    for p_value, width in ((0.05, found.high - found.value), (found.p_value, abs(found.value))):
        ends = between * stats.t.isf(p_value / 2, seeds - 1) + of_images * stats.norm.isf(p_value / 2)
        assert width == pytest.approx(ends / math.sqrt(between + of_images)), "Cochran and Cox 1950"
    same = over_seeds_and_images(by_seed, of_seeds, of_mean)
    assert (same.low, same.high) == pytest.approx((t.low, t.high)), "without images it is the paired t test"
    assert same.p_value == pytest.approx(stats.ttest_1samp(by_seed, 0).pvalue)


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
