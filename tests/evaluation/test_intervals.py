"""Clopper-Pearson intervals against the binomial tails that define them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.evaluation.intervals import clopper_pearson, draw_accuracies, middle


def at_least(right: int, images: int, p: float) -> float:
    """P(X >= right) for a binomial X, term by term."""
    return math.fsum(math.comb(images, k) * p**k * (1 - p) ** (images - k) for k in range(right, images + 1))


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_each_end_leaves_a_tail_of_two_and_a_half_percent(counts: tuple[int, int]) -> None:
    right, images = counts
    low, high = (end / 100 for end in clopper_pearson(100 * right / images, images))
    assert low <= right / images <= high
    if right:
        assert at_least(right, images, low) == pytest.approx(0.025, abs=1e-9)
    else:
        assert low == 0
    if right < images:
        assert 1 - at_least(right + 1, images, high) == pytest.approx(0.025, abs=1e-9)
    else:
        assert high == 1


def test_a_known_interval() -> None:
    """Ten of ten: the lower end is the tenth root of 0.025."""
    assert clopper_pearson(100.0, 10)[0] == pytest.approx(100 * 0.025 ** (1 / 10))


def test_the_middle_is_that_of_the_sorted_draws() -> None:
    draws = [float(value) for value in range(1001)]
    assert middle(draws[::-1]) == pytest.approx((25.0, 975.0))


def test_drawn_accuracies_spread_as_a_binomial() -> None:
    drawn = draw_accuracies(30.0, 500, seed=3)
    assert drawn.mean() == pytest.approx(30.0, abs=0.3)
    assert drawn.std() == pytest.approx(100 * math.sqrt(0.3 * 0.7 / 500), rel=0.1)
    assert (draw_accuracies(30.0, 500, seed=3) == drawn).all()
    assert (draw_accuracies(30.0, 500, seed=4) != drawn).any()
    assert set(draw_accuracies(0.0, 500, seed=1)) == {0.0}
