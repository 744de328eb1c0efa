"""Lines and local curves of logits against naive ones, and what holds for every curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.evaluation.robustness.fits import (
    Curves,
    fit_lines,
    fit_local,
    inverse_logit,
    logit,
    shape_line,
    shape_local,
)
from tests.evaluation.robustness import naive

percents = st.floats(0.01, 99.99)


@given(percents)
def test_the_logit_has_an_inverse_and_is_odd(percent: float) -> None:
    assert float(inverse_logit(logit(percent))) == pytest.approx(percent, rel=1e-9)
    assert float(logit(percent)) == pytest.approx(-float(logit(100 - percent)), abs=1e-8)
    assert float(logit(percent)) == pytest.approx(math.log(percent / (100 - percent)), abs=1e-8)


def test_the_ends_of_the_logit() -> None:
    assert logit([0, 100]).tolist() == [-math.inf, math.inf]
    assert inverse_logit([-math.inf, math.inf]).tolist() == [0, 100]


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=3, max_size=20))
def test_weighted_lines_are_those_of_repeated_points(pairs: list[tuple[float, float]]) -> None:
    x, y = np.array(pairs).T
    if np.ptp(x) < 0.1 or np.ptp(x[1:]) < 0.1:
        return
    weights = np.ones((1, len(pairs)))
    weights[0, 0] = 3
    slopes, intercepts = fit_lines(x, y, weights)
    slope, intercept, _ = naive.line([*pairs, pairs[0], pairs[0]])
    assert slopes[0] == pytest.approx(slope, abs=1e-6)
    assert intercepts[0] == pytest.approx(intercept, abs=1e-6)


def test_a_curve_is_straight_between_its_points_and_beyond() -> None:
    curve = Curves(np.array([0.0, 1.0, 3.0]), np.array([[0.0, 1.0, 2.0]]))
    assert curve.at([-1, 0, 0.5, 1, 2, 3, 5]).tolist() == [-1, 0, 0.5, 1, 1.5, 2, 3]
    assert np.isfinite(curve.at([-math.inf, math.inf])).all()


def test_many_curves_are_taken_at_one_place_or_at_one_each() -> None:
    curves = Curves(np.array([0.0, 1.0]), np.array([[0.0, 1.0], [5.0, 7.0]]))
    assert curves.at(0.5).tolist() == [0.5, 6.0]
    assert curves.at([0.5, 2.0]).tolist() == [0.5, 9.0]


def rising(seed: int, models: int = 60) -> tuple[list[tuple[float, float]], np.random.Generator]:
    generator = np.random.default_rng(seed)
    x = np.sort(generator.uniform(-4, 2, models))
    return list(zip(x, x + 0.3 * x**2 / 4 + generator.normal(0, 0.01, models), strict=True)), generator


@pytest.mark.parametrize("seed", range(5))
def test_a_local_curve_is_the_naive_one(seed: int) -> None:
    pairs, generator = rising(seed)
    x, y = np.array(pairs).T
    counts = generator.integers(0, 4, len(x)).astype(float)
    curves = fit_local(x, y, np.stack([np.ones(len(x)), counts]), points=40)
    for row, weights in enumerate((None, counts.tolist())):
        expected = [naive.local(pairs, float(place), weights) for place in curves.grid]
        assert curves.values[row] == pytest.approx(sorted(expected), abs=1e-6)


def test_a_curve_that_falls_is_put_in_rising_order() -> None:
    x = np.linspace(-3, 3, 80)
    pairs = [(float(each), math.sin(2 * each) + each / 2) for each in x]
    curves = fit_local(x, np.array([y for _, y in pairs]), np.ones((1, 80)), points=50)
    expected = [naive.local(pairs, float(place)) for place in curves.grid]
    assert expected != sorted(expected)
    assert curves.values[0] == pytest.approx(sorted(expected), abs=1e-6)


def test_models_at_one_place_have_their_mean() -> None:
    x = np.array([0.0] * 40 + [1.0] * 20)
    y = np.array([1.0, 3.0] * 20 + [5.0] * 20)
    curves = fit_local(x, y, np.ones((1, 60)), points=11)
    assert np.isfinite(curves.values).all()
    assert curves.at([0.0]) == pytest.approx([2.0])


def test_a_draw_of_one_model_over_and_over_has_the_line_of_all() -> None:
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 3.0])
    shape = shape_line(x, y, np.array([[3.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert shape.draws.at(1.0)[0] == pytest.approx(shape.curve.at([1.0])[0])


def test_the_scatter_is_that_of_the_models_around() -> None:
    generator = np.random.default_rng(0)
    x = np.linspace(-4, 4, 4000)
    y = x + generator.normal(0, np.where(x < 0, 0.1, 0.4))
    scatter = shape_local(x, y, np.ones((2, len(x)))).scatter
    assert scatter is not None
    assert scatter.at([-3.5])[0] == pytest.approx(0.1, rel=0.1)
    assert scatter.at([3.5])[0] == pytest.approx(0.4, rel=0.1)
