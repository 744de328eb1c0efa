"""McNemar's test, the interval and the detectable effect, against statsmodels, scipy and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from imagenet_captions.evaluation.intervals import (
    FEW,
    Pairs,
    mcnemar,
    smallest_detectable,
)

stats = pytest.importorskip("scipy.stats")

TABLES = [(0, 0), (0, 1), (3, 3), (2, 10), (12, 12), (0, 24), (12, 13), (5, 20), (30, 50), (1200, 1600), (2500, 2500)]


@pytest.mark.parametrize(("only_first", "only_second"), TABLES)
def test_mcnemar_is_that_of_statsmodels(only_first: int, only_second: int) -> None:
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    pairs = Pairs(10_000, only_first, only_second)
    exact = only_first + only_second < FEW
    expected = tables.mcnemar([[1000, only_first], [only_second, 2000]], exact=exact, correction=True).pvalue
    assert mcnemar(pairs) == pytest.approx(expected, rel=1e-9)


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


def test_the_formula_of_the_smallest_detectable_effect() -> None:
    pairs = Pairs(4000, 90, 110)
    effect, share = smallest_detectable(pairs), pairs.discordant / pairs.images
    right = stats.norm.ppf(0.975) * math.sqrt(share) + stats.norm.ppf(0.8) * math.sqrt(share - effect**2)
    assert effect * math.sqrt(pairs.images) == pytest.approx(right)
    few = smallest_detectable(Pairs(4000, 1, 0))
    one_sided = stats.norm.ppf(0.975) * math.sqrt(few) + stats.norm.ppf(0.8) * math.sqrt(few - few**2)
    assert few * math.sqrt(4000) == pytest.approx(one_sided), "every discordant image lies on one side"
    assert smallest_detectable(Pairs(1, 0, 1)) == 1.0
