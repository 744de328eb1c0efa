"""The baseline's fits: reference coefficients, naive fits, where models are few, and properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.intervals import middle
from imagenet_captions.evaluation.robustness import fits as baselines
from imagenet_captions.evaluation.robustness.fits import (
    BASELINES,
    EXTRAPOLATED,
    SPARSE,
    Fit,
    NoFitError,
    check_reference,
    fit_baseline,
    fit_models,
    logit,
    named_baseline,
    own_baseline,
)
from imagenet_captions.evaluation.robustness.tables import IMAGENET, SHIFTS, Result, Results, read_testbed
from tests.evaluation.robustness import naive

BY_COLUMN = {shift.column: shift for shift in SHIFTS}
LINES = BASELINES[1:]
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
    assert fit.shape.slope == pytest.approx(slope, abs=1e-5)
    assert fit.shape.intercept == pytest.approx(intercept, abs=1e-5)
    assert fit.shape.r == pytest.approx(r, abs=5.1e-5)
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
    found = (round(fit.shape.slope or 0, 4), round(fit.shape.intercept or 0, 4), round(fit.shape.r, 3), fit.n)
    assert found == (slope, intercept, r, n)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_the_fit_is_the_naive_one_and_numpys(name: str, x: str, y: str) -> None:
    fit = fit_baseline(name, BY_COLUMN[y], x)
    pairs = naive.points(name, x, y)
    slope, intercept, r = naive.line(pairs)
    assert fit.n == len(pairs)
    line = (fit.shape.slope, fit.shape.intercept)
    assert (*line, fit.shape.r) == pytest.approx((slope, intercept, r), rel=1e-9)
    assert line == pytest.approx(tuple(np.polyfit(*np.array(pairs).T, 1)), rel=1e-9)
    assert logit(fit.predict(60.0)) == pytest.approx(slope * naive.logit(60.0) + intercept, rel=1e-9)
    assert (logit(fit.lowest), logit(fit.highest)) == pytest.approx((min(pairs)[0], max(pairs)[0]))


def test_the_baselines_differ_at_low_accuracy() -> None:
    predictions = [fit_baseline(name, BY_COLUMN["objectnet"], IMAGENET).predict(30.0) for name in BASELINES]
    assert [round(value, 1) for value in predictions] == [6.7, 4.6, 8.8]


@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_the_default_curve_is_a_naive_local_one(x: str, y: str) -> None:
    fit = fit_baseline("auto", BY_COLUMN[y], x)
    pairs = naive.points("auto", x, y)
    assert fit.n == len(pairs)
    for place in np.linspace(logit(fit.lowest), logit(fit.highest), 25).tolist():
        predicted = fit.predict(naive.percent(place))
        expected = naive.percent(naive.local(pairs, place))
        assert predicted == pytest.approx(expected, abs=0.1 if y == "imagenet-a" else 0.005)


def test_who_is_in_a_baseline() -> None:
    assert [len(named_baseline(name).models) for name in BASELINES] == [195, 85, 195]
    assert min(result.accuracies[IMAGENET] for result in named_baseline("standard").models) >= 55
    names = [result.model for result in named_baseline("auto").models]
    assert not [name for name in names if "aws" in name or "batch64" in name or "subsample" in name]
    with pytest.raises(InputError, match="must be one of auto, standard, imagenet-only"):
        named_baseline("imagenet")


def test_a_model_without_a_logit_is_left_out_and_named() -> None:
    assert fit_baseline("standard", BY_COLUMN["imagenet-a"], IMAGENET).left_out == ("resnet50",)
    assert fit_baseline("standard", BY_COLUMN["imagenet-v2"], IMAGENET).left_out == ()


def test_the_bootstrap_is_the_naive_one() -> None:
    fit = fit_baseline("standard", BY_COLUMN["imagenet-r"], IMAGENET)
    counts = baselines.resamples(85)
    assert counts.shape == (1000, 85)
    assert (counts.sum(axis=1) == 85).all()
    members = list(named_baseline("standard").models)
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
    counts = baselines.resamples(195)
    pairs = naive.points("auto", IMAGENET, "imagenet-sketch")
    for draw in (0, 999):
        expected = naive.percent(naive.local(pairs, naive.logit(75.0), counts[draw].tolist()))
        assert fit.predict_draws(75.0)[draw] == pytest.approx(expected, abs=0.1)


def test_a_damaged_testbed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    check_reference.__wrapped__()
    wrong = {**baselines.REFERENCE, (IMAGENET, "imagenet-v2"): (0.92326, -0.497690, 0.9980, 85)}
    monkeypatch.setattr(baselines, "REFERENCE", wrong)
    with pytest.raises(InputError, match="install the package again"):
        check_reference.__wrapped__()


percents = st.floats(0.01, 99.99)


@given(percents, percents, st.sampled_from(BASELINES), st.sampled_from(PAIRS))
def test_predictions_rise_with_imagenet_accuracy(one: float, other: float, name: str, pair: tuple[str, str]) -> None:
    fit = fit_baseline(name, BY_COLUMN[pair[1]], pair[0])
    low, high = sorted((one, other))
    assert 0 <= fit.predict(low) <= fit.predict(high) <= 100
    if not fit.mark(low) and not fit.mark(high):
        assert (fit.predict_draws(low) <= fit.predict_draws(high) + 1e-9).all() or not fit.local


@pytest.mark.parametrize(("x", "y"), PAIRS)
def test_the_default_curve_is_continuous(x: str, y: str) -> None:
    fit = fit_baseline("auto", BY_COLUMN[y], x)
    places = np.linspace(0.1, 99.5, 20_000)
    steps = np.abs(np.diff(fit.predict_all(places)))
    assert steps.max() < 0.2  # ImageNet-A rises by up to 30 points in one of ImageNet


def test_where_models_are_few_a_value_is_marked() -> None:
    fit = fit_baseline("auto", BY_COLUMN["imagenet-v2"], IMAGENET)
    assert list(fit.bin_counts) == [36, 37, 32, 1, 3, 4, 10, 53, 19, 0]
    marks = {value: fit.mark(value) for value in (0.1, 5.0, 29.9, 30.0, 59.9, 60.0, 84.7, 84.8, 89.0)}
    assert [value for value, mark in marks.items() if mark == SPARSE] == [30.0, 59.9]
    assert [value for value, mark in marks.items() if mark == EXTRAPOLATED] == [0.1, 84.8, 89.0]
    assert [fit_baseline("standard", fit.shift, IMAGENET).mark(value) for value in (50.0, 59.0, 84.8)] == [
        EXTRAPOLATED,
        "",
        EXTRAPOLATED,
    ]


@pytest.mark.parametrize("imagenet", [35.0, 45.0, 55.0, 86.0])
@pytest.mark.parametrize("y", ["imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet"])
def test_where_models_are_few_the_interval_is_wider(y: str, imagenet: float) -> None:
    """By the standard error of as few models as there are, on top of the bootstrap's."""
    fit = fit_baseline("auto", BY_COLUMN[y], IMAGENET)
    bootstrap = middle(fit.shape.draws.at(logit(imagenet)))
    doubtful = middle(logit(fit.predict_draws(imagenet)))
    assert fit.mark(imagenet)
    assert doubtful[1] - doubtful[0] > 1.2 * (bootstrap[1] - bootstrap[0])
    dense = middle(logit(fit.predict_draws(75.0)))
    assert dense == pytest.approx(middle(fit.shape.draws.at(logit(75.0))), rel=1e-9)


def own(pairs: list[tuple[float, float]]) -> Results:
    rows = [Result(str(number), {IMAGENET: x, "imagenet-v2": y}) for number, (x, y) in enumerate(pairs)]
    return Results(tuple(rows), ("model", IMAGENET, "imagenet-v2"), "percent")


def fit_own(pairs: list[tuple[float, float]]) -> Fit:
    return fit_models(own_baseline(own(pairs), "mine.csv"), BY_COLUMN["imagenet-v2"], IMAGENET)


def test_a_baseline_of_ones_own_models() -> None:
    pairs = [(20.0 + 3 * number, 15.0 + 2.9 * number) for number in range(20)]
    fit = fit_own(pairs)
    slope, intercept, _ = naive.line([(naive.logit(x), naive.logit(y)) for x, y in pairs])
    assert not fit.local
    assert (fit.shape.slope, fit.shape.intercept) == pytest.approx((slope, intercept))
    assert fit.baseline == "mine.csv"


def test_fifty_models_of_ones_own_have_a_local_curve() -> None:
    rows = [row for row in read_testbed().rows if row.training == "standard"]
    table = Results(tuple(rows), read_testbed().columns, "percent")
    assert fit_models(own_baseline(table, "mine.csv"), BY_COLUMN["imagenet-v2"], IMAGENET).local


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
