"""Effective robustness of models: known values, a naive reference, missing and extreme accuracies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenet_captions.evaluation.baseline import BASELINES
from imagenet_captions.evaluation.results import Result, read_published, read_testbed
from imagenet_captions.evaluation.robustness import measure
from imagenet_captions.evaluation.shifts import IMAGENET, SHIFTS
from tests.evaluation import naive

RN50 = next(result for result in read_testbed().rows if result.model == "resnet50_clip_zeroshot")


def test_clip_rn50() -> None:
    report = measure([RN50])
    (model,) = report.models
    values = {shift: round(found.value, 2) for shift, found in model.shifts.items()}
    assert report.baseline == "standard"
    assert values["imagenet-v2"] == 5.79
    assert values["imagenet-sketch"] == 22.86
    assert values["imagenet-r"] == 32.86
    assert values["objectnet"] == 17.85
    assert model.mean == pytest.approx((5.794 + 22.861 + 32.857 + 17.846) / 4, abs=1e-3)


def test_a_model_of_the_fit_lies_near_its_line() -> None:
    inside = [result for result in read_testbed().rows if result.training == "standard"]
    means = [model.mean for model in measure(inside, "standard").models if model.mean is not None]
    assert len(means) > 70
    assert abs(sum(means) / len(means)) < 0.5


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("all_classes", [False, True])
def test_every_published_value_is_the_naive_one(baseline: str, all_classes: bool) -> None:
    for model in measure(read_published().rows, baseline, all_classes).models:
        accuracies = model.result.accuracies
        assert len(model.shifts) == 5
        for shift in SHIFTS:
            same = shift.same_classes if shift.same_classes in accuracies and not all_classes else None
            predicted = naive.predict(baseline, same or IMAGENET, shift.column, accuracies[same or IMAGENET])
            assert model.shifts[shift.column].value == pytest.approx(accuracies[shift.column] - predicted, abs=1e-8)
        four = [model.shifts[name].value for name in ("imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet")]
        assert model.mean == pytest.approx(sum(four) / 4, abs=1e-9)


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    sizes = (200, 2_000, 200_000)
    widths = []
    for images in sizes:
        few = Result("m", RN50.accuracies, images=dict.fromkeys(RN50.accuracies, images))
        (model,) = measure([few]).models
        assert model.mean is not None
        assert model.mean_interval is not None
        for value, (low, high) in [
            (model.mean, model.mean_interval),
            *((found.value, found.interval) for found in model.shifts.values()),
        ]:
            assert low < value < high
        widths.append(model.mean_interval[1] - model.mean_interval[0])
    assert widths == sorted(widths, reverse=True)
    assert measure([RN50]).models == measure([RN50]).models  # seeded


def test_test_sets_are_drawn_apart() -> None:
    """The mean's interval is narrower than the shifts': their sampling errors are independent."""
    images = dict.fromkeys(RN50.accuracies, 300)
    (model,) = measure([Result("m", RN50.accuracies, images=images)]).models
    assert model.mean_interval is not None
    averaged = [found for column, found in model.shifts.items() if column != "imagenet-a"]
    widths = [found.interval[1] - found.interval[0] for found in averaged]
    assert model.mean_interval[1] - model.mean_interval[0] < 0.75 * sum(widths) / 4


def test_missing_accuracies_are_left_out_and_said() -> None:
    report = measure(
        [Result("no shift", {IMAGENET: 70.0}), Result("no imagenet", {"imagenet-v2": 50.0}), Result("nothing", {})]
    )
    assert [dict(model.shifts) for model in report.models] == [{}, {}, {}]
    assert [model.mean for model in report.models] == [None, None, None]
    assert "no ImageNet accuracy: no imagenet, nothing" in report.notes
    assert "no mean, for want of ImageNetV2, ImageNet-R, ImageNet-Sketch, ObjectNet: no shift" in report.notes


def test_zero_and_hundred_percent() -> None:
    report = measure(
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
    assert any(note.startswith("all right has 100 % in imagenet: ") for note in report.notes)
    assert any(note.startswith("floor has 0 % in imagenet-v2: drawn at the edge") for note in report.notes)


def test_a_model_outside_the_fitted_range_is_named() -> None:
    within, beyond = (
        Result(name, {IMAGENET: value, "imagenet-v2": 50.0}) for name, value in (("a", 70.0), ("b", 91.0))
    )
    report = measure([within, beyond])
    assert [model.shifts["imagenet-v2"].outside for model in report.models] == [False, True]
    (note,) = [note for note in report.notes if "extrapolates" in note]
    assert note.endswith("extrapolates: b")
    assert "56.5 to 84.7 %" in note


def test_one_model_without_same_classes_does_not_change_another() -> None:
    other = Result("other", {IMAGENET: 60.0, "imagenet-r": 40.0})
    alone, beside = measure([RN50]).models[0], measure([RN50, other]).models[0]
    assert alone == beside
    assert any("--all-classes" in note for note in measure([RN50, other]).notes)
    assert not any("--all-classes" in note for note in measure([RN50, other], all_classes=True).notes)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.sampled_from([IMAGENET, *(shift.column for shift in SHIFTS), "imagenet_on_r_classes"]),
        st.floats(0, 100) | st.sampled_from([0.0, 100.0]),
    ),
    st.sampled_from([None, *BASELINES]),
)
def test_any_accuracies_give_finite_values_in_range(accuracies: dict[str, float], baseline: str | None) -> None:
    (model,) = measure([Result("m", accuracies)], baseline).models
    for found in model.shifts.values():
        assert -100 <= found.interval[0] <= found.interval[1] <= 100
        assert found.value == pytest.approx(found.accuracy - found.predicted)
        assert 0 <= found.predicted <= 100
    assert (model.mean is None) == (
        not {"imagenet-v2", "imagenet-r", "imagenet-sketch", "objectnet"} <= set(model.shifts)
    )
