"""The baseline's lines: reference coefficients, a naive fit, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation import baseline as baselines
from imagenet_captions.evaluation.baseline import (
    BASELINES,
    baseline_models,
    check_reference,
    choose_baseline,
    fit_baseline,
    fit_lines,
    inverse_logit,
    logit,
)
from imagenet_captions.evaluation.results import Result
from imagenet_captions.evaluation.shifts import IMAGENET, SHIFTS
from tests.evaluation import naive

BY_COLUMN = {shift.column: shift for shift in SHIFTS}
PAIRS = [(x, shift.column) for shift in SHIFTS for x in (IMAGENET, shift.same_classes) if x]

# As recomputed from the testbed's own file, with more digits than the shipped table (natural-log logit of percent).
REFERENCE = [
    ("imagenet", "imagenet-v2", 0.923229, -0.497690, 0.9980, 85),
    ("imagenet", "imagenet-sketch", 1.0709154135668684, -2.370072912552283, 0.9322, 85),
    ("imagenet_on_r_classes", "imagenet-r", 0.636844, -2.107716, 0.9431, 80),
    ("imagenet_on_objectnet_classes", "objectnet", 0.980910, -1.928289, 0.9760, 85),
    ("imagenet_on_a_classes", "imagenet-a", 1.990006, -7.632477, 0.9098, 84),
]


@pytest.mark.parametrize(("x", "y", "slope", "intercept", "r", "n"), REFERENCE)
def test_the_reference_coefficients(x: str, y: str, slope: float, intercept: float, r: float, n: int) -> None:
    fit = fit_baseline("standard", BY_COLUMN[y], x)
    assert fit.slope == pytest.approx(slope, abs=1e-5)
    assert fit.intercept == pytest.approx(intercept, abs=1e-5)
    assert fit.r == pytest.approx(r, abs=5.1e-5)
    assert fit.n == n


@pytest.mark.parametrize(
    ("y", "slope", "intercept", "r", "n"),
    [
        ("imagenet-r", 0.9116, -1.5999, 0.937, 80),
        ("objectnet", 1.1993, -2.0243, 0.970, 85),
        ("imagenet-a", 3.0516, -6.2917, 0.879, 84),
    ],
)
def test_the_reference_coefficients_of_all_classes(y: str, slope: float, intercept: float, r: float, n: int) -> None:
    fit = fit_baseline("standard", BY_COLUMN[y], IMAGENET)
    assert (round(fit.slope, 4), round(fit.intercept, 4), round(fit.r, 3), fit.n) == (slope, intercept, r, n)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_the_fit_is_the_naive_one_and_numpys(name: str, x: str, y: str) -> None:
    fit = fit_baseline(name, BY_COLUMN[y], x)
    pairs = naive.points(name, x, y)
    slope, intercept, r = naive.line(pairs)
    assert fit.n == len(pairs)
    assert (fit.slope, fit.intercept, fit.r) == pytest.approx((slope, intercept, r), rel=1e-9)
    assert (fit.slope, fit.intercept) == pytest.approx(tuple(np.polyfit(*np.array(pairs).T, 1)), rel=1e-9)
    assert (logit(fit.lowest), logit(fit.highest)) == pytest.approx((min(pairs)[0], max(pairs)[0]))


def test_the_two_baselines_differ_at_low_accuracy() -> None:
    predictions = [fit_baseline(name, BY_COLUMN["objectnet"], IMAGENET).predict(30.0) for name in BASELINES]
    assert [round(value, 1) for value in predictions] == [4.6, 8.8]


def test_who_is_in_a_baseline() -> None:
    assert (len(baseline_models("standard")), len(baseline_models("imagenet-only"))) == (85, 195)
    assert min(result.accuracies[IMAGENET] for result in baseline_models("standard")) >= 55
    names = [result.model for result in baseline_models("imagenet-only")]
    assert not [name for name in names if "aws" in name or "batch64" in name or "subsample" in name]
    with pytest.raises(InputError, match="there are standard and imagenet-only"):
        baseline_models("imagenet")


def test_a_model_without_a_logit_is_left_out_and_named() -> None:
    assert fit_baseline("standard", BY_COLUMN["imagenet-a"], IMAGENET).left_out == ("resnet50",)
    assert fit_baseline("standard", BY_COLUMN["imagenet-v2"], IMAGENET).left_out == ()


def test_the_bootstrap_is_the_naive_one() -> None:
    fit = fit_baseline("standard", BY_COLUMN["imagenet-r"], IMAGENET)
    counts = baselines._resamples(85)
    assert counts.shape == (1000, 85)
    assert (counts.sum(axis=1) == 85).all()
    members = list(baseline_models("standard"))
    for draw in (0, 7, 999):
        pairs = [
            (naive.logit(member.accuracies[IMAGENET]), naive.logit(member.accuracies["imagenet-r"]))
            for member, times in zip(members, counts[draw], strict=True)
            if "imagenet-r" in member.accuracies
            for _ in range(int(times))
        ]
        slope, intercept, _ = naive.line(pairs)
        assert (fit.slopes[draw], fit.intercepts[draw]) == pytest.approx((slope, intercept), rel=1e-7)
    assert fit.slopes.mean() == pytest.approx(fit.slope, abs=0.01)


def test_a_damaged_testbed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_reference.__wrapped__()
    wrong = {**baselines.REFERENCE, (IMAGENET, "imagenet-v2"): (0.92326, -0.497690, 0.9980, 85)}
    monkeypatch.setattr(baselines, "REFERENCE", wrong)
    with pytest.raises(InputError, match="install the package again"):
        check_reference.__wrapped__()


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [([55.0, 90.0], "standard"), ([54.999, 90.0], "imagenet-only"), ([], "standard"), ([0.0], "imagenet-only")],
)
def test_the_default_baseline(accuracies: list[float], expected: str) -> None:
    results = [Result(str(number), {IMAGENET: value}) for number, value in enumerate(accuracies)]
    assert choose_baseline([*results, Result("unknown", {})]) == expected


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


@given(percents, percents, st.sampled_from(BASELINES), st.sampled_from(PAIRS))
def test_predictions_rise_with_imagenet_accuracy(one: float, other: float, name: str, pair: tuple[str, str]) -> None:
    fit = fit_baseline(name, BY_COLUMN[pair[1]], pair[0])
    low, high = sorted((one, other))
    assert 0 <= fit.predict(low) <= fit.predict(high) <= 100
