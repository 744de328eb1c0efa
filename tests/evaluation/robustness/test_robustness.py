"""Effective robustness of models: known values, a naive reference, missing and extreme accuracies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.evaluation.robustness.fits import BASELINES, EXTRAPOLATED, SPARSE, own_baseline
from imagenet_captions.evaluation.robustness.measure import ALL, SAME, measure_robustness, write_notes
from imagenet_captions.evaluation.robustness.tables import (
    IMAGENET,
    SHIFTS,
    Result,
    Results,
    read_published,
    read_testbed,
)
from tests.evaluation.robustness import naive

RN50 = next(result for result in read_testbed().rows if result.model == "resnet50_clip_zeroshot")


def test_clip_rn50() -> None:
    report = measure_robustness([RN50], "standard")
    (model,) = report.models
    values = {shift: round(found.value, 2) for shift, found in model.shifts.items()}
    assert report.baseline.name == "standard"
    assert values["imagenet-v2"] == 5.79
    assert values["imagenet-sketch"] == 22.86
    assert values["imagenet-r"] == 32.86
    assert values["objectnet"] == 17.85
    assert model.mean is not None
    assert model.mean.value == pytest.approx((5.794 + 22.861 + 32.857 + 17.846) / 4, abs=1e-3)
    assert model.mean.compared_on == SAME


@pytest.mark.parametrize("imagenet", [5.0, 54.9, 55.1, 84.0, 90.0])
def test_a_models_value_does_not_depend_on_the_table_around_it(imagenet: float) -> None:
    """One weak model once moved all others to another line."""
    other = Result("other", {IMAGENET: imagenet, "imagenet-v2": 4.0})
    assert measure_robustness([RN50]).models[0].shifts == measure_robustness([other, RN50]).models[1].shifts
    assert measure_robustness([RN50]).baseline.name == "auto"


def test_a_model_of_the_fit_lies_near_its_line() -> None:
    inside = [result for result in read_testbed().rows if result.training == "standard"]
    means = [model.mean.value for model in measure_robustness(inside, "standard").models if model.mean is not None]
    assert len(means) > 70
    assert abs(sum(means) / len(means)) < 0.5


@pytest.mark.parametrize("baseline", BASELINES[1:])
@pytest.mark.parametrize("all_classes", [False, True])
def test_every_published_value_is_the_naive_one(baseline: str, all_classes: bool) -> None:
    for model in measure_robustness(read_published().rows, baseline, all_classes).models:
        accuracies = model.result.accuracies
        assert len(model.shifts) == 5
        for shift in SHIFTS:
            same = shift.same_classes if shift.same_classes in accuracies and not all_classes else None
            predicted = naive.predict(baseline, same or IMAGENET, shift.column, accuracies[same or IMAGENET])
            assert model.shifts[shift.column].value == pytest.approx(accuracies[shift.column] - predicted, abs=1e-8)
        four = [model.shifts[name].value for name in ("imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet")]
        if model.mean is None:
            assert model.shifts["objectnet"].compared_on == SAME
        else:
            assert model.mean.value == pytest.approx(sum(four) / 4, abs=1e-9)


@pytest.mark.parametrize("baseline", BASELINES[1:])
def test_models_outside_the_fit_have_the_naive_value(baseline: str) -> None:
    """All models of the testbed that a baseline is not fitted over, one of them every few."""
    outside = [row for row in read_testbed().rows if row.training not in ("standard", "low_accuracy_cnn")][::4]
    for model in measure_robustness(outside, baseline).models:
        for column, found in model.shifts.items():
            predicted = naive.predict(baseline, found.fit.x_column, column, found.imagenet)
            assert found.value == pytest.approx(model.result.accuracies[column] - predicted, abs=1e-3)


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    sizes = (200, 2_000, 200_000)
    widths = []
    for images in sizes:
        few = Result("m", RN50.accuracies, images=dict.fromkeys(RN50.accuracies, images))
        (model,) = measure_robustness([few]).models
        assert model.mean is not None
        for value, (low, high) in [
            (model.mean.value, model.mean.interval),
            *((found.value, found.interval) for found in model.shifts.values()),
        ]:
            assert low < value < high
        widths.append(model.mean.interval[1] - model.mean.interval[0])
    assert widths == sorted(widths, reverse=True)
    assert measure_robustness([RN50]).models == measure_robustness([RN50]).models  # seeded


def test_test_sets_are_drawn_apart() -> None:
    """The mean's interval is narrower than the shifts': their sampling errors are independent."""
    images = dict.fromkeys(RN50.accuracies, 300)
    (model,) = measure_robustness([Result("m", RN50.accuracies, images=images)], "standard").models
    assert model.mean is not None
    averaged = [found for column, found in model.shifts.items() if column != "imagenet-a"]
    widths = [found.interval[1] - found.interval[0] for found in averaged]
    assert model.mean.interval[1] - model.mean.interval[0] < 0.75 * sum(widths) / 4


def test_missing_accuracies_are_left_out_and_said() -> None:
    report = measure_robustness(
        [Result("no shift", {IMAGENET: 70.0}), Result("no imagenet", {"imagenet-v2": 50.0}), Result("nothing", {})]
    )
    assert [dict(model.shifts) for model in report.models] == [{}, {}, {}]
    assert [model.mean for model in report.models] == [None, None, None]
    assert "no ImageNet accuracy: no imagenet, nothing" in write_notes(report)
    assert "no mean, for want of ImageNetV2, ImageNet-R, ImageNet-Sketch, ObjectNet: no shift" in write_notes(report)


def test_zero_and_hundred_percent() -> None:
    report = measure_robustness(
        [
            Result("floor", {IMAGENET: 70.0, "imagenet-v2": 0.0}),
            Result("roof", {IMAGENET: 70.0, "imagenet-v2": 100.0}),
            Result("all right", {IMAGENET: 100.0, "imagenet-v2": 90.0}),
        ],
        "standard",
    )
    floor, roof, all_right = report.models
    predicted = naive.predict("standard", IMAGENET, "imagenet-v2", 70.0)
    assert floor.shifts["imagenet-v2"].value == pytest.approx(-predicted)
    assert roof.shifts["imagenet-v2"].value == pytest.approx(100 - predicted)
    assert all_right.shifts == {}
    assert any(note.startswith("all right has 100 % in imagenet: ") for note in write_notes(report))
    assert any(note.startswith("floor has 0 % in imagenet-v2: drawn at the edge") for note in write_notes(report))


def test_a_model_outside_the_fitted_range_is_named() -> None:
    within, beyond = (
        Result(name, {IMAGENET: value, "imagenet-v2": 50.0}) for name, value in (("a", 70.0), ("b", 91.0))
    )
    report = measure_robustness([within, beyond], "standard")
    assert [model.shifts["imagenet-v2"].mark for model in report.models] == ["", EXTRAPOLATED]
    (note,) = [note for note in write_notes(report) if "extrapolated" in note]
    assert note.endswith(": b")
    assert "56.5 to 84.7 %" in note


def test_one_model_without_same_classes_does_not_change_another() -> None:
    other = Result("other", {IMAGENET: 60.0, "imagenet-r": 40.0})
    alone, beside = measure_robustness([RN50]).models[0], measure_robustness([RN50, other]).models[0]
    assert alone == beside
    assert any("`all_classes=True`" in note for note in write_notes(measure_robustness([RN50, other])))
    assert not any(
        "`all_classes=True`" in note for note in write_notes(measure_robustness([RN50, other], all_classes=True))
    )


@given(
    st.dictionaries(
        st.sampled_from([IMAGENET, *(shift.column for shift in SHIFTS), "imagenet_on_r_classes"]),
        st.floats(0, 100) | st.sampled_from([0.0, 100.0]),
    ),
    st.sampled_from(BASELINES),
)
def test_any_accuracies_give_finite_values_in_range(accuracies: dict[str, float], baseline: str) -> None:
    (model,) = measure_robustness([Result("m", accuracies)], baseline).models
    for found in model.shifts.values():
        assert -100 <= found.interval[0] <= found.interval[1] <= 100
        assert found.value == pytest.approx(found.accuracy - found.predicted)
        assert 0 <= found.predicted <= 100
    averaged = {"imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet"} <= set(model.shifts)
    alike = averaged and model.shifts["imagenet-r"].compared_on == model.shifts["objectnet"].compared_on
    assert (model.mean is not None) == alike
    assert bool(model.no_mean) == (model.mean is None)


FOUR = {"imagenet-v2": 50.0, "imagenet-r": 40.0, "imagenet-sketch": 30.0, "objectnet": 30.0}
ON_OWN_CLASSES = {"imagenet_on_r_classes": 85.0, "imagenet_on_objectnet_classes": 75.0}


def test_the_mean_is_over_cells_of_one_form() -> None:
    half = {IMAGENET: 70.0, **FOUR, "imagenet_on_r_classes": 85.0}
    (model,) = measure_robustness([Result("half", half)]).models
    assert [model.shifts[name].compared_on for name in ("imagenet-r", "objectnet")] == [SAME, ALL]
    assert model.mean is None
    assert "one is compared on its own classes and the other on all 1000" in model.no_mean
    (whole,) = measure_robustness([Result("half", half)], all_classes=True).models
    assert whole.mean is not None
    assert whole.mean.compared_on == ALL


def test_a_table_has_means_of_one_form() -> None:
    own = Result("own classes", {IMAGENET: 70.0, **FOUR, **ON_OWN_CLASSES})
    all_of_them = Result("all classes", {IMAGENET: 70.0, **FOUR})
    (alone,) = measure_robustness([own]).models
    assert alone.mean is not None
    assert alone.mean.compared_on == SAME
    report = measure_robustness([own, all_of_them])
    assert [model.mean is None for model in report.models] == [True, False]
    assert report.models[0].shifts == alone.shifts, "only the mean is withheld"
    assert any(note.startswith("no mean, since its R and ObjectNet") for note in write_notes(report))
    both = measure_robustness([own, all_of_them], all_classes=True)
    assert {model.mean.value for model in both.models if model.mean} == {report.models[1].mean.value}  # type: ignore[union-attr]


def test_a_mean_is_marked_as_its_worst_cell() -> None:
    marks = {}
    for imagenet in (35.0, 75.0, 86.0):
        (model,) = measure_robustness([Result("m", {IMAGENET: imagenet, **FOUR})]).models
        assert model.mean is not None
        marks[imagenet] = model.mean.mark
        assert {found.mark for found in model.shifts.values()} == {model.mean.mark}
    assert marks == {35.0: SPARSE, 75.0: "", 86.0: EXTRAPOLATED}
    notes = write_notes(measure_robustness([Result("few", {IMAGENET: 35.0, **FOUR})]))
    assert any(note.startswith("sparse: ") and note.endswith(": few") for note in notes)


def test_a_value_of_60_to_89_percent_is_never_withheld() -> None:
    models = [Result(str(number), {IMAGENET: float(number), **FOUR, "imagenet-a": 20.0}) for number in range(60, 90)]
    for model in measure_robustness(models).models:
        assert len(model.shifts) == 5
        assert model.mean is not None


def own_table(columns: tuple[str, ...]) -> Results:
    rows = [
        Result(f"own {number}", {IMAGENET: 30.0 + 3 * number} | dict.fromkeys(columns, 20.0 + 2.5 * number))
        for number in range(8)
    ]
    return Results(tuple(rows), ("model", IMAGENET, *columns), "percent")


def test_a_baseline_of_ones_own_models_is_used_for_what_it_has() -> None:
    own = own_baseline(own_table(("imagenet-v2", "imagenet-r")), "mine.csv")
    report = measure_robustness([Result("m", {IMAGENET: 45.0, **FOUR, **ON_OWN_CLASSES})], own)
    (model,) = report.models
    assert set(model.shifts) == {"imagenet-v2", "imagenet-r"}
    assert model.shifts["imagenet-r"].compared_on == ALL, "the own models have no accuracy on R's classes"
    assert model.shifts["imagenet-v2"].value == pytest.approx(50.0 - report.fits[0].predict(45.0))
    assert {fit.baseline for fit in report.fits} == {"mine.csv"}
    assert any("mine.csv has 0 models with imagenet and imagenet-sketch" in note for note in write_notes(report))
    assert model.mean is None


def test_the_models_of_an_own_baseline_lie_around_its_line() -> None:
    table = own_table(("imagenet-v2",))
    values = [
        model.shifts["imagenet-v2"].value for model in measure_robustness(table.rows, own_baseline(table, "x")).models
    ]
    assert abs(sum(values) / len(values)) < 0.5
    assert max(map(abs, values)) < 2
