"""Effective robustness of models: known values, naive references, several ID sets, missing and extreme accuracies."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.evaluation.intervals import Floats
from imagenet_captions.evaluation.robustness.fits import (
    EXTRAPOLATED,
    SAME,
    SPARSE,
    NoFitError,
    inverse_logit,
    logit,
)
from imagenet_captions.evaluation.robustness.measure import ModelRobustness, measure_robustness, write_notes
from imagenet_captions.evaluation.robustness.tables import (
    BASELINES,
    IMAGENET,
    SHIFTS,
    Result,
    read_published,
    read_testbed,
)
from tests.evaluation.robustness import naive
from tests.evaluation.robustness.made_models import IDS, INTERCEPT, SLOPES, baseline_of, made

RN50 = next(result for result in read_testbed().rows if result.model == "resnet50_clip_zeroshot")
FOUR = {"imagenet-v2": 50.0, "imagenet-r": 40.0, "imagenet-sketch": 30.0, "objectnet": 30.0}
ON_OWN_CLASSES = {"imagenet_on_r_classes": 85.0, "imagenet_on_objectnet_classes": 75.0}


def measured(accuracies: dict[str, float], baseline: str = "auto") -> ModelRobustness:
    (model,) = measure_robustness([Result("m", accuracies)], baseline).models
    return model


@pytest.mark.parametrize("baseline", ["standard", "imagenet-only"])
@pytest.mark.parametrize("all_classes", [False, True])
def test_every_published_value_is_the_naive_one(baseline: str, all_classes: bool) -> None:
    for model in measure_robustness(read_published().rows, baseline, all_classes).models:
        accuracies = model.result.accuracies
        for shift in SHIFTS:
            same = shift.same_classes if shift.same_classes in accuracies and not all_classes else None
            predicted = naive.predict(baseline, same or IMAGENET, shift.column, accuracies[same or IMAGENET])
            assert model.shifts[shift.column].value == pytest.approx(accuracies[shift.column] - predicted, abs=1e-8)
        if model.mean is None:
            assert model.shifts["objectnet"].compared_on == SAME
        else:
            assert model.mean.value == pytest.approx(np.mean([model.shifts[name].value for name in FOUR]), abs=1e-9)


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    """The mean's is narrower than the shifts', as the test sets are drawn apart."""
    widths = []
    for images in (200, 2_000, 200_000):
        few = Result("m", RN50.accuracies, images=dict.fromkeys(RN50.accuracies, images))
        (model,) = measure_robustness([few], "standard").models
        assert model.mean is not None
        for found in (model.mean, *model.shifts.values()):
            assert found.interval[0] < found.value < found.interval[1]
        widths.append(np.ptp(model.mean.interval))
        assert images > 200 or widths[0] < 0.75 * np.mean([np.ptp(model.shifts[name].interval) for name in FOUR])
    assert widths == sorted(widths, reverse=True)


def test_zero_and_hundred_percent() -> None:
    accuracies = {"floor": (70.0, 0.0), "roof": (70.0, 100.0), "all right": (100.0, 90.0)}
    rows = [Result(name, {IMAGENET: x, "imagenet-v2": y}) for name, (x, y) in accuracies.items()]
    report = measure_robustness([*rows, Result("no imagenet", {"imagenet-v2": 50.0})], "standard")
    floor, roof, all_right, nothing = report.models
    predicted = naive.predict("standard", IMAGENET, "imagenet-v2", 70.0)
    assert floor.shifts["imagenet-v2"].value == pytest.approx(-predicted)
    assert roof.shifts["imagenet-v2"].value == pytest.approx(100 - predicted)
    assert nothing.shifts == all_right.shifts == {}
    notes = write_notes(report)
    assert "no ImageNet accuracy: no imagenet" in notes
    starts = ("all right has 100 % in imagenet: ", "floor has 0 % in imagenet-v2: drawn", "no mean, for want of ")
    for start in starts:
        assert any(note.startswith(start) for note in notes)


@given(
    st.dictionaries(
        st.sampled_from([IMAGENET, *(shift.column for shift in SHIFTS), "imagenet_on_r_classes"]),
        st.floats(0, 100) | st.sampled_from([0.0, 100.0]),
    ),
    st.sampled_from([*BASELINES]),
)
def test_any_accuracies_give_finite_values_in_range(accuracies: dict[str, float], baseline: str) -> None:
    model = measured(accuracies, baseline)
    for column, found in model.shifts.items():
        assert -100 <= found.interval[0] <= found.interval[1] <= 100
        assert found.value == pytest.approx(accuracies[column] - found.predicted)
        assert 0 <= found.predicted <= 100
    averaged = set(FOUR) <= set(model.shifts)
    alike = averaged and model.shifts["imagenet-r"].compared_on == model.shifts["objectnet"].compared_on
    assert (model.mean is not None) == alike
    assert bool(model.no_mean) == (model.mean is None)


def test_a_table_has_means_of_one_form() -> None:
    half = measured({IMAGENET: 70.0, **FOUR, "imagenet_on_r_classes": 85.0})
    assert "one is compared on its own classes and the other on all 1000" in half.no_mean
    own = Result("own classes", {IMAGENET: 70.0, **FOUR, **ON_OWN_CLASSES})
    all_of_them = Result("all classes", {IMAGENET: 70.0, **FOUR})
    (alone,) = measure_robustness([own]).models
    assert alone.mean is not None
    assert alone.mean.compared_on == SAME
    report = measure_robustness([own, all_of_them])
    assert [model.mean is None for model in report.models] == [True, False]
    assert report.models[0].shifts == alone.shifts, "only the mean is withheld"
    assert any(note.endswith("alike, and gives a mean to own classes") for note in write_notes(report))
    both = measure_robustness([own, all_of_them], all_classes=True)
    assert {model.mean for model in both.models} == {report.models[1].mean}


def test_a_mean_is_marked_as_its_worst_cell() -> None:
    marks = {}
    for imagenet in (20.0, 75.0, 86.0):
        model = measured({IMAGENET: imagenet, **FOUR})
        assert model.mean is not None
        marks[imagenet] = model.mean.mark
        assert {found.mark for found in model.shifts.values()} == {model.mean.mark}
    assert marks == {20.0: SPARSE, 75.0: "", 86.0: EXTRAPOLATED}
    notes = write_notes(measure_robustness([Result("few", {IMAGENET: 20.0, **FOUR})]))
    assert any(note.startswith("sparse: ") and note.endswith(": few (4)") for note in notes)


# Several ID sets.


def columns_of(models: list[Result], *columns: str) -> Floats:
    return np.array([[model.accuracies[column] for column in columns] for model in models])


def test_planted_coefficients_are_recovered() -> None:
    accuracies = made()[0].accuracies
    robust = Result("robust", {**accuracies, "imagenet-v2": accuracies["imagenet-v2"] + 7})
    report = measure_robustness([*made(), robust], baseline_of(made()), ids=IDS)
    (fit,) = report.fits
    np.testing.assert_allclose(fit.coefficients, [INTERCEPT, *SLOPES], atol=1e-9)
    *others, last = (model.shifts["imagenet-v2"] for model in report.models)
    assert all(abs(found.value) < 1e-9 for found in others)
    assert last.value == pytest.approx(7)
    assert last.interval[0] < 7 < last.interval[1]


def test_the_numbers_are_scikit_learns() -> None:
    ids = ("laion", "imagenet")
    linear_model = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    models = made(noise=0.3)
    x, y = logit(columns_of(models, *ids)), columns_of(models, "imagenet-v2")[:, 0]
    report = measure_robustness(models, baseline_of(models), ids=ids)
    for fit, columns in ((report.fits[0], slice(None)), (report.fits[0].first_alone, slice(1))):
        theirs = linear_model.LinearRegression().fit(x[:, columns], logit(y))
        predicted = theirs.predict(x[:, columns])
        np.testing.assert_allclose(fit.coefficients, [theirs.intercept_, *theirs.coef_], rtol=1e-9)
        _, r2, error = fit.quality
        assert r2 == pytest.approx(metrics.r2_score(logit(y), predicted), rel=1e-12)
        assert error == pytest.approx(metrics.mean_absolute_error(y, inverse_logit(predicted)), rel=1e-12)


def test_the_interval_is_that_of_refitted_samples() -> None:
    """The spread over the bootstrap is what least squares gives for the mean of the prediction, within a tenth."""
    models = made(200, noise=0.2)
    (fit,) = measure_robustness(models, baseline_of(models), ids=IDS).fits
    design = np.column_stack([np.ones(200), logit(columns_of(models, *IDS))])
    left = logit(columns_of(models, "imagenet-v2")[:, 0]) - design @ fit.coefficients
    covariance = np.linalg.inv(design.T @ design) * (left @ left / (200 - 4))
    draws = fit.draws.coefficients  # type: ignore[union-attr]
    np.testing.assert_allclose(draws.std(axis=0), np.sqrt(np.diag(covariance)), rtol=0.15)
    np.testing.assert_allclose(draws.mean(axis=0), fit.coefficients, atol=0.01)


def test_the_same_classes_are_used_if_every_set_has_them() -> None:
    models = []
    for n, each in enumerate(made(shifts=tuple(FOUR))):
        more = {"imagenet_on_r_classes": 80.0 - n, "yfcc_on_r_classes": 50.0 + n % 7}
        models.append(Result(each.model, {**each.accuracies, **more}))
    report = measure_robustness(models, baseline_of(models), ids=IDS[:2])
    by_shift = {fit.shift.column: fit.columns for fit in report.fits}
    assert by_shift["imagenet-r"] == ("imagenet_on_r_classes", "yfcc_on_r_classes")
    assert by_shift["objectnet"] == ("imagenet", "yfcc")
    assert report.models[0].shifts["imagenet-r"].compared_on == SAME
    assert report.models[0].mean is None  # R on its own classes and ObjectNet on all do not average
    three = measure_robustness(models, baseline_of(models), ids=IDS)  # laion has no accuracies on the classes of R
    assert {fit.columns for fit in three.fits} == {IDS}


def test_models_beyond_those_of_the_fit_are_marked_and_those_without_a_logit_left_out() -> None:
    models = made()
    beyond = Result("beyond", {**models[0].accuracies, "yfcc": 99.0})
    report = measure_robustness([models[0], beyond], baseline_of(models), ids=IDS)
    assert [model.shifts["imagenet-v2"].mark for model in report.models] == ["", EXTRAPOLATED]
    zero = [*models, Result("zero", {**models[0].accuracies, "yfcc": 0.0})]
    report = measure_robustness(zero, baseline_of(zero), ids=IDS)
    assert report.fits[0].left_out == ("zero",)
    assert report.models[-1].shifts == {}


def test_collinear_sets_and_models_without_them_are_refused() -> None:
    twins = [Result(each.model, {**each.accuracies, "laion": each.accuracies["yfcc"]}) for each in made()]
    with pytest.raises(NoFitError, match="yfcc follow from those on the other `id_sets` in made"):
        measure_robustness(twins, baseline_of(twins), ids=IDS)
    absent = [Result("absent", {"imagenet": 50.0, "imagenet-v2": 40.0})]
    with pytest.raises(NoFitError, match="no model of the results has imagenet, yfcc, laion and a shift"):
        measure_robustness(absent, baseline_of(made()), ids=IDS)
