"""Curves, lines and planes against naive ones, the reference coefficients, and where models are few."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.evaluation.intervals import middle
from imagenet_captions.evaluation.robustness import fits
from imagenet_captions.evaluation.robustness.fits import (
    EXTRAPOLATED,
    SPARSE,
    Baseline,
    Curves,
    Fit,
    LocalFit,
    NoFitError,
    fit_baseline,
    fit_local,
    fit_models,
    fit_planes,
    inverse_logit,
    logit,
    named_baseline,
)
from imagenet_captions.evaluation.robustness.tables import BASELINES, IMAGENET, SHIFTS, Result, read_testbed
from tests.evaluation.robustness import naive

BY_COLUMN = {shift.column: shift for shift in SHIFTS}
PAIRS = [(x, shift.column) for shift in SHIFTS for x in (IMAGENET, shift.same_classes) if x]

percents = st.floats(0.01, 99.99)


@given(percents)
def test_the_logit_has_an_inverse(percent: float) -> None:
    assert float(inverse_logit(logit(percent))) == pytest.approx(percent, rel=1e-9)
    assert float(logit(percent)) == pytest.approx(math.log(percent / (100 - percent)), abs=1e-8)
    assert logit([0, 100]).tolist() == [-math.inf, math.inf]
    assert inverse_logit([-math.inf, math.inf]).tolist() == [0, 100]


def test_curves_are_straight_between_their_points_and_beyond() -> None:
    curve = Curves(np.array([0.0, 1.0, 3.0]), np.array([[0.0, 1.0, 2.0]]))
    assert curve.at([-1, 0, 0.5, 1, 2, 3, 5]).tolist() == [-1, 0, 0.5, 1, 1.5, 2, 3]
    assert np.isfinite(curve.at([-math.inf, math.inf])).all()
    two = Curves(np.array([0.0, 1.0]), np.array([[0.0, 1.0], [5.0, 7.0]]))
    assert (two.at(0.5).tolist(), two.at([0.5, 2.0]).tolist()) == ([0.5, 6.0], [0.5, 9.0])


def fitted(models: list[tuple[float, float, int]], draws: int = 1) -> LocalFit:
    x, y, runs = map(np.array, zip(*models, strict=True))
    z = np.random.default_rng(0).standard_normal((draws, runs.max() + 1))
    return fit_local(x.astype(float), y.astype(float), runs, z)


def test_a_curve_that_falls_is_put_in_rising_order() -> None:
    models = [(x, math.sin(3 * x) + x / 2, run) for run, x in enumerate(np.linspace(-3, 3, 80).tolist())]
    curve = fitted(models).curve
    points = [(x, y, str(run)) for x, y, run in models]
    expected = [naive.local(points, place) for place in curve.grid.tolist()]
    assert expected != sorted(expected)
    assert curve.values[0] == pytest.approx(sorted(expected), abs=1e-6)


def test_models_at_one_place_have_their_mean() -> None:
    models = [(0.0, 1.0 + 2 * (run % 2), run) for run in range(40)] + [(2.0, 5.0, 40 + run) for run in range(20)]
    assert fitted(models).curve.at([0.0]) == pytest.approx([2.0])
    weights = np.array([[3.0, 0, 0], [1.0, 1, 1]])
    over_and_over, of_all = fit_planes(np.arange(3.0), np.array([0.0, 1.0, 3.0]), weights).coefficients
    assert over_and_over == pytest.approx(of_all), "one model over and over"


def test_the_scatter_is_that_of_the_trainings_around() -> None:
    generator = np.random.default_rng(0)
    x = np.linspace(-4, 4, 1000)
    y = x + generator.normal(0, np.where(x < 0, 0.1, 0.4))
    fit = fitted(list(zip(x.tolist(), y.tolist(), range(1000), strict=True)))
    assert fit.scatter.at([-3.5])[0] == pytest.approx(0.1, rel=0.2)
    assert fit.scatter.at([3.5])[0] == pytest.approx(0.4, rel=0.1)


def test_the_checkpoints_of_a_training_are_off_together() -> None:
    """Ten trainings of ten checkpoints say as much of a curve as ten models, not as a hundred."""
    generator = np.random.default_rng(1)
    x = np.sort(generator.uniform(-1, 1, 100))
    off = generator.normal(0, 0.2, 10)
    runs = np.tile(np.arange(10), 10)
    models = list(zip(x.tolist(), (x + off[runs]).tolist(), runs.tolist(), strict=True))
    together = fitted(models, draws=400).draws.at([0.0] * 400).std()
    apart = fitted([(*model[:2], run) for run, model in enumerate(models)], draws=400).draws.at([0.0] * 400).std()
    assert 0.2 / math.sqrt(10) < together < 0.4 / math.sqrt(10) * 2
    assert apart < 0.8 * together


@pytest.mark.parametrize("name", ["standard", "imagenet-only"])
@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_a_line_is_the_naive_one(name: str, x: str, y: str) -> None:
    fit = fit_baseline(name, BY_COLUMN[y], x)
    pairs = naive.points(name, x, y)
    slope, intercept, r = naive.line(pairs)
    assert len(fit.models) == len(pairs)
    assert (*fit.coefficients, fit.quality[0]) == pytest.approx((intercept, slope, r), rel=1e-9)
    assert logit(fit.predict(60.0)) == pytest.approx(slope * naive.logit(60.0) + intercept, rel=1e-9)
    assert logit([*fit.ranges[0], *fit.ranges[1]]) == pytest.approx([min(pairs)[0], max(pairs)[0]])


@pytest.mark.parametrize(("x", "y"), PAIRS[::3])
def test_the_default_curve_is_a_naive_local_one_and_continuous(x: str, y: str) -> None:
    fit = fit_baseline("auto", BY_COLUMN[y], x)
    models = naive.points("auto", x, y)
    assert len(fit.models) == len(models)
    places = np.linspace(min(models)[0], max(models)[0], 1001)
    expected = sorted(naive.local(models, place) for place in places.tolist())
    assert fit.predict_all(inverse_logit(places)) == pytest.approx(inverse_logit(expected), abs=0.005)
    steps = np.abs(np.diff(fit.predict_all(np.linspace(0.1, 99.5, 20_000))))
    assert steps.max() < 0.2  # ImageNet-A rises by up to 30 points in one of ImageNet
    accuracies = inverse_logit(np.linspace(*logit([5, fit.ranges[1][0]]), 2000))
    widths = [np.ptp(middle(logit(fit.predict_draws(each)))) for each in accuracies]
    assert np.abs(np.diff(np.log(widths))).max() < 0.1, "an interval does not jump"


def test_who_is_in_a_baseline() -> None:
    assert min(result.accuracies[IMAGENET] for result in named_baseline("standard").models) >= 55
    runs = Counter(result.run for result in named_baseline("auto").models)
    assert runs == {"": 91, "resnet18_50k": 99, "resnet101": 10}
    assert fit_baseline("standard", BY_COLUMN["imagenet-a"], IMAGENET).left_out == ("resnet50",)
    assert fit_baseline("standard", BY_COLUMN["imagenet-r"], IMAGENET).left_out == (), "five lack R"


def test_the_bootstrap_is_the_naive_one() -> None:
    fit = fit_baseline("standard", BY_COLUMN["imagenet-r"], IMAGENET)
    counts = fits.resamples(85)
    assert (counts.sum(axis=1) == 85).all()
    members = [member.accuracies for member in named_baseline("standard").models]
    for draw in (0, 999):
        pairs = []
        for each, times in zip(members, counts[draw], strict=True):
            if "imagenet-r" in each:
                pairs += [(naive.logit(each[IMAGENET]), naive.logit(each["imagenet-r"]))] * int(times)
        slope, intercept, _ = naive.line(pairs)
        expected = naive.percent(slope * naive.logit(60.0) + intercept)
        assert fit.predict_draws(60.0)[draw] == pytest.approx(expected, rel=1e-7)


# The lines of the testbed; public code has Sketch's coefficients too.
@pytest.mark.parametrize(
    ("x", "y", "slope", "intercept", "r", "n"),
    [
        (IMAGENET, "imagenet-v2", 0.923229, -0.497690, 0.9980, 85),
        (IMAGENET, "imagenet-sketch", 1.070915, -2.370073, 0.9322, 85),
        ("imagenet_on_r_classes", "imagenet-r", 0.636844, -2.107716, 0.9431, 80),
        ("imagenet_on_objectnet_classes", "objectnet", 0.980910, -1.928289, 0.9760, 85),
        ("imagenet_on_a_classes", "imagenet-a", 1.990006, -7.632477, 0.9098, 84),
        (IMAGENET, "imagenet-r", 0.911591, -1.599916, 0.9366, 80),
        (IMAGENET, "objectnet", 1.199268, -2.024251, 0.9701, 85),
        (IMAGENET, "imagenet-a", 3.051639, -6.291670, 0.8792, 84),
    ],
)
def test_the_shipped_testbed_gives_the_reference_lines(
    x: str, y: str, slope: float, intercept: float, r: float, n: int
) -> None:
    fit = fit_baseline("standard", BY_COLUMN[y], x)
    assert fit.coefficients == pytest.approx([intercept, slope], abs=1e-5)
    assert (fit.quality[0], len(fit.models)) == (pytest.approx(r, abs=1e-4), n)


@given(percents, percents, st.sampled_from([*BASELINES]), st.sampled_from(PAIRS))
def test_predictions_rise_with_imagenet_accuracy(one: float, other: float, name: str, pair: tuple[str, str]) -> None:
    fit = fit_baseline(name, BY_COLUMN[pair[1]], pair[0])
    low, high = sorted((one, other))
    assert 0 <= fit.predict(low) <= fit.predict(high) <= 100
    if fit.near and not fit.mark(low) and not fit.mark(high):
        assert (fit.predict_draws(low) <= fit.predict_draws(high) + 1e-9).all()


def test_where_trainings_are_few_a_value_is_marked() -> None:
    fit = fit_baseline("auto", BY_COLUMN["imagenet-v2"], IMAGENET)
    marks = {value: fit.mark(value) for value in (0.1, 5.0, 20.0, 40.0, 59.9, 65.0, 78.0, 84.6, 84.8, 89.0)}
    assert [value for value, mark in marks.items() if mark == SPARSE] == [5.0, 20.0]
    assert [value for value, mark in marks.items() if mark == EXTRAPOLATED] == [0.1, 84.8, 89.0]
    for value, mark in marks.items():
        near = [run for x, _, run in naive.points("auto", IMAGENET, "imagenet-v2") if abs(x - naive.logit(value)) < 1]
        assert mark == EXTRAPOLATED or (mark == SPARSE) == (len(set(near)) < 5)
    line = fit_baseline("standard", fit.shift, IMAGENET)
    assert [line.mark(value) for value in (50.0, 59.0, 84.8)] == [EXTRAPOLATED, "", EXTRAPOLATED]


def fit_own(models: list[Result]) -> Fit:
    return fit_models(Baseline("mine.csv", tuple(models), ""), BY_COLUMN["imagenet-v2"], (IMAGENET,))


def own(pairs: list[tuple[float, float]]) -> list[Result]:
    return [Result(str(number), {IMAGENET: x, "imagenet-v2": y}) for number, (x, y) in enumerate(pairs)]


def test_the_checkpoints_of_one_training_are_no_baseline() -> None:
    rows = [Result(f"e{at}", {IMAGENET: 20.0 + at, "imagenet-v2": 15.0 + at}, run="r") for at in range(60)]
    others = [Result(f"m{at}", {IMAGENET: 70.0 + at, "imagenet-v2": 60.0 + at}) for at in range(4)]
    with pytest.raises(NoFitError, match=r"\(4 of 5\)"):
        fit_own([*rows, *others[:3]])
    assert fit_own([*rows, *others]).size == "64 of 5 trainings"


def test_a_baseline_of_ones_own_models_is_a_line_and_of_fifty_a_local_curve() -> None:
    pairs = [(20.0 + 3 * number, 15.0 + 2.9 * number) for number in range(20)]
    fit = fit_own(own(pairs))
    slope, intercept, _ = naive.line([(naive.logit(x), naive.logit(y)) for x, y in pairs])
    assert (fit.near, fit.coefficients) == (None, pytest.approx([intercept, slope]))
    assert fit_own([row for row in read_testbed().rows if row.training == "standard"]).near


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([(70.0, 60.0)] * 4, r"imagenet-v2 from imagenet \(4 of 5\)"),
        (
            [(70.0, 0.0), (71.0, 60.0), (72.0, 61.0), (73.0, 62.0), (74.0, 63.0)],
            r"imagenet-v2 from imagenet \(4 of 5\)",
        ),
        ([(70.0, 64.0), (71.0, 63.0), (72.0, 62.0), (73.0, 61.0), (74.0, 60.0)], "does not rise with imagenet"),
    ],
)
def test_models_that_give_no_baseline_are_refused(pairs: list[tuple[float, float]], sentence: str) -> None:
    with pytest.raises(NoFitError, match=sentence):
        fit_own(own(pairs))
