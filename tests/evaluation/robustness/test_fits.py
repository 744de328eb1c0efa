"""Curves, lines and planes against naive ones, the reference coefficients, and where models are few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import middle
from imagenet_captions.evaluation.robustness import fits
from imagenet_captions.evaluation.robustness.fits import (
    BASELINES,
    EXTRAPOLATED,
    SPARSE,
    Curves,
    Fit,
    NoFitError,
    check_reference,
    fit_baseline,
    fit_local,
    fit_models,
    fit_planes,
    inverse_logit,
    local_scatter,
    logit,
    named_baseline,
    own_baseline,
)
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Result, Results, read_testbed
from tests.evaluation.robustness import naive

BY_COLUMN = {shift.column: shift for shift in SHIFTS}
PAIRS = [(x, shift.column) for shift in SHIFTS for x in (IMAGENET, shift.same_classes) if x]

# As recomputed from the testbed's own file (natural-log logit of percent): slope, intercept, r, n.
REFERENCE = [
    ("imagenet", "imagenet-v2", 0.923229, -0.497690, 0.9980, 85),
    ("imagenet", "imagenet-sketch", 1.0709154135668684, -2.370072912552283, 0.9322, 85),
    ("imagenet_on_r_classes", "imagenet-r", 0.636844, -2.107716, 0.9431, 80),
    ("imagenet_on_objectnet_classes", "objectnet", 0.980910, -1.928289, 0.9760, 85),
    ("imagenet_on_a_classes", "imagenet-a", 1.990006, -7.632477, 0.9098, 84),
    ("imagenet", "imagenet-r", 0.911591, -1.599916, 0.9366, 80),
    ("imagenet", "objectnet", 1.199268, -2.024251, 0.9701, 85),
    ("imagenet", "imagenet-a", 3.051639, -6.291670, 0.8792, 84),
]
percents = st.floats(0.01, 99.99)


@given(percents)
def test_the_logit_has_an_inverse(percent: float) -> None:
    assert float(inverse_logit(logit(percent))) == pytest.approx(percent, rel=1e-9)
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
    slope, intercept, _ = naive.line([*pairs, pairs[0], pairs[0]])
    assert fit_planes(x, y, weights).coefficients[0] == pytest.approx([intercept, slope], abs=1e-6)


def test_curves_are_straight_between_their_points_and_beyond() -> None:
    curve = Curves(np.array([0.0, 1.0, 3.0]), np.array([[0.0, 1.0, 2.0]]))
    assert curve.at([-1, 0, 0.5, 1, 2, 3, 5]).tolist() == [-1, 0, 0.5, 1, 1.5, 2, 3]
    assert np.isfinite(curve.at([-math.inf, math.inf])).all()
    two = Curves(np.array([0.0, 1.0]), np.array([[0.0, 1.0], [5.0, 7.0]]))
    assert two.at(0.5).tolist() == [0.5, 6.0]
    assert two.at([0.5, 2.0]).tolist() == [0.5, 9.0]


@pytest.mark.parametrize("seed", range(3))
def test_a_local_curve_is_the_naive_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x = np.sort(generator.uniform(-4, 2, 60))
    y = x + 0.3 * x**2 / 4 + generator.normal(0, 0.01, 60)
    counts = generator.integers(0, 4, len(x)).astype(float)
    curves = fit_local(x, y, np.stack([np.ones(len(x)), counts]), points=40)
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
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
    lines = fit_planes(x, y, np.array([[3.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert lines.coefficients[0] == pytest.approx(lines.coefficients[1])


def test_the_scatter_is_that_of_the_models_around() -> None:
    generator = np.random.default_rng(0)
    x = np.linspace(-4, 4, 4000)
    y = x + generator.normal(0, np.where(x < 0, 0.1, 0.4))
    curve = fit_local(x, y, np.ones((1, len(x))), 201)
    scatter = local_scatter(x, y, curve, curve.grid)
    assert scatter.at([-3.5])[0] == pytest.approx(0.1, rel=0.1)
    assert scatter.at([3.5])[0] == pytest.approx(0.4, rel=0.1)


@pytest.mark.parametrize(("x", "y", "slope", "intercept", "r", "n"), REFERENCE)
def test_the_reference_coefficients(x: str, y: str, slope: float, intercept: float, r: float, n: int) -> None:
    fit = fit_baseline("standard", BY_COLUMN[y], x)
    assert fit.coefficients == pytest.approx([intercept, slope], abs=1e-5)
    assert fit.quality[0] == pytest.approx(r, abs=5.1e-5)
    assert fit.n == n


@pytest.mark.parametrize("name", BASELINES[1:])
@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_a_line_is_the_naive_one(name: str, x: str, y: str) -> None:
    fit = fit_baseline(name, BY_COLUMN[y], x)
    pairs = naive.points(name, x, y)
    slope, intercept, r = naive.line(pairs)
    assert fit.n == len(pairs)
    assert (*fit.coefficients, fit.quality[0]) == pytest.approx((intercept, slope, r), rel=1e-9)
    assert logit(fit.predict(60.0)) == pytest.approx(slope * naive.logit(60.0) + intercept, rel=1e-9)
    assert logit([*fit.ranges[0], *fit.ranges[1]]) == pytest.approx([min(pairs)[0], max(pairs)[0]])


@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_the_default_curve_is_a_naive_local_one_and_continuous(x: str, y: str) -> None:
    fit = fit_baseline("auto", BY_COLUMN[y], x)
    pairs = naive.points("auto", x, y)
    assert fit.n == len(pairs)
    for place in np.linspace(min(pairs)[0], max(pairs)[0], 25).tolist():
        expected = naive.percent(naive.local(pairs, place))
        assert fit.predict(naive.percent(place)) == pytest.approx(expected, abs=0.1 if y == "imagenet-a" else 0.005)
    steps = np.abs(np.diff(fit.predict_all(np.linspace(0.1, 99.5, 20_000))))
    assert steps.max() < 0.2  # ImageNet-A rises by up to 30 points in one of ImageNet


def test_who_is_in_a_baseline() -> None:
    assert [len(named_baseline(name).models) for name in BASELINES] == [195, 85, 195]
    assert min(result.accuracies[IMAGENET] for result in named_baseline("standard").models) >= 55
    names = [result.model for result in named_baseline("auto").models]
    assert not [name for name in names if "aws" in name or "batch64" in name or "subsample" in name]
    with pytest.raises(InputError, match="must be one of auto, standard, imagenet-only"):
        named_baseline("imagenet")
    assert fit_baseline("standard", BY_COLUMN["imagenet-a"], IMAGENET).left_out == ("resnet50",)
    assert fit_baseline("standard", BY_COLUMN["imagenet-v2"], IMAGENET).left_out == ()


def test_the_bootstrap_is_the_naive_one() -> None:
    fit = fit_baseline("standard", BY_COLUMN["imagenet-r"], IMAGENET)
    counts = fits.resamples(85)
    assert counts.shape == (1000, 85)
    assert (counts.sum(axis=1) == 85).all()
    members = named_baseline("standard").models
    for draw in (0, 7, 999):
        pairs = [
            (naive.logit(member.accuracies[IMAGENET]), naive.logit(member.accuracies["imagenet-r"]))
            for member, times in zip(members, counts[draw], strict=True)
            if "imagenet-r" in member.accuracies
            for _ in range(int(times))
        ]
        slope, intercept, _ = naive.line(pairs)
        for imagenet in (60.0, 90.0):
            expected = naive.percent(slope * naive.logit(imagenet) + intercept)
            assert fit.predict_draws(imagenet)[draw] == pytest.approx(expected, rel=1e-7)


def test_the_bootstrap_of_a_local_curve_is_the_naive_one() -> None:
    fit = fit_baseline("auto", BY_COLUMN["imagenet-sketch"], IMAGENET)
    counts = fits.resamples(195)
    pairs = naive.points("auto", IMAGENET, "imagenet-sketch")
    for draw in (0, 999):
        expected = naive.percent(naive.local(pairs, naive.logit(75.0), counts[draw].tolist()))
        assert fit.predict_draws(75.0)[draw] == pytest.approx(expected, abs=0.1)


def test_a_damaged_testbed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_reference.__wrapped__()
    wrong = {**fits.REFERENCE, (IMAGENET, "imagenet-v2"): (0.92326, -0.497690, 0.9980, 85)}
    monkeypatch.setattr(fits, "REFERENCE", wrong)
    with pytest.raises(InputError, match="install the package again"):
        check_reference.__wrapped__()


@given(percents, percents, st.sampled_from(BASELINES), st.sampled_from(PAIRS))
def test_predictions_rise_with_imagenet_accuracy(one: float, other: float, name: str, pair: tuple[str, str]) -> None:
    fit = fit_baseline(name, BY_COLUMN[pair[1]], pair[0])
    low, high = sorted((one, other))
    assert 0 <= fit.predict(low) <= fit.predict(high) <= 100
    if fit.local and not fit.mark(low) and not fit.mark(high):
        assert (fit.predict_draws(low) <= fit.predict_draws(high) + 1e-9).all()


def test_where_models_are_few_a_value_is_marked() -> None:
    fit = fit_baseline("auto", BY_COLUMN["imagenet-v2"], IMAGENET)
    assert list(fit.bin_counts) == [36, 37, 32, 1, 3, 4, 10, 53, 19, 0]
    marks = {value: fit.mark(value) for value in (0.1, 5.0, 29.9, 30.0, 59.9, 60.0, 84.7, 84.8, 89.0)}
    assert [value for value, mark in marks.items() if mark == SPARSE] == [30.0, 59.9]
    assert [value for value, mark in marks.items() if mark == EXTRAPOLATED] == [0.1, 84.8, 89.0]
    line = fit_baseline("standard", fit.shift, IMAGENET)
    assert [line.mark(value) for value in (50.0, 59.0, 84.8)] == [EXTRAPOLATED, "", EXTRAPOLATED]


@pytest.mark.parametrize("imagenet", [35.0, 45.0, 55.0, 86.0])
@pytest.mark.parametrize("y", ["imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet"])
def test_where_models_are_few_the_interval_is_wider(y: str, imagenet: float) -> None:
    """By the standard error of as few models as there are, on top of the bootstrap's."""
    fit = fit_baseline("auto", BY_COLUMN[y], IMAGENET)
    bootstrap = middle(fit.draws.at(logit(imagenet)))
    doubtful = middle(logit(fit.predict_draws(imagenet)))
    assert fit.mark(imagenet)
    assert doubtful[1] - doubtful[0] > 1.2 * (bootstrap[1] - bootstrap[0])
    dense = middle(logit(fit.predict_draws(75.0)))
    assert dense == pytest.approx(middle(fit.draws.at(logit(75.0))), rel=1e-9)


def fit_own(pairs: list[tuple[float, float]]) -> Fit:
    rows = tuple(Result(str(number), {IMAGENET: x, "imagenet-v2": y}) for number, (x, y) in enumerate(pairs))
    table = Results(rows, ("model", IMAGENET, "imagenet-v2"), "percent")
    return fit_models(own_baseline(table, "mine.csv"), BY_COLUMN["imagenet-v2"], (IMAGENET,))


def test_a_baseline_of_ones_own_models_is_a_line_and_of_fifty_a_local_curve() -> None:
    pairs = [(20.0 + 3 * number, 15.0 + 2.9 * number) for number in range(20)]
    fit = fit_own(pairs)
    slope, intercept, _ = naive.line([(naive.logit(x), naive.logit(y)) for x, y in pairs])
    assert not fit.local
    assert fit.coefficients == pytest.approx([intercept, slope])
    assert fit.baseline == "mine.csv"
    many = [row.accuracies for row in read_testbed().rows if row.training == "standard"]
    assert fit_own([(each[IMAGENET], each["imagenet-v2"]) for each in many]).local


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([(70.0, 60.0)] * 4, "mine.csv has 4 models"),
        ([(70.0, 0.0), (71.0, 60.0), (72.0, 61.0), (73.0, 62.0), (74.0, 63.0)], "mine.csv has 4 models"),
        ([(70.0, 60.0), (70.0, 61.0), (70.0, 62.0), (70.0, 63.0), (70.0, 64.0)], "does not rise with imagenet"),
        ([(70.0, 64.0), (71.0, 63.0), (72.0, 62.0), (73.0, 61.0), (74.0, 60.0)], "does not rise with imagenet"),
    ],
)
def test_models_that_give_no_baseline_are_refused(pairs: list[tuple[float, float]], sentence: str) -> None:
    with pytest.raises(NoFitError, match=sentence):
        fit_own(pairs)
