"""Differences with their intervals, against a naive reference, and what sentences say of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from imagenet_captions.ablations.comparing import (
    ACCURACY,
    LOG_ODDS,
    POINTS,
    Difference,
    Measured,
    Row,
    above_line,
    difference,
    draw_seeds,
    effective_robustness,
    factor_sentence,
    kept_log_odds,
    line_through,
    sentence,
    write_rows,
)
from imagenet_captions.ablations.report import escape, table
from imagenet_captions.evaluation.intervals import middle, paired_interval
from imagenet_captions.evaluation.robustness.measure import measure_robustness
from imagenet_captions.evaluation.robustness.tables import Result
from tests.ablations.made import read_rows


def row(found: Difference, first: str = "a", second: str = "b", unit: str = POINTS, headline: bool = False) -> Row:
    cells = {"kind": ACCURACY, "quantity": "accuracy on clean", "unit": unit, "headline": headline}
    return Row(factor="size", first=first, second=second, **cells, **asdict(found))


def test_the_interval_is_the_paired_one_of_evaluation() -> None:
    first, second = (np.random.default_rng(seed).random(300) < share for seed, share in ((0, 0.6), (1, 0.5)))
    found = difference([first], [second])
    gaps = first.astype(float) - second
    assert (found.low, found.high) == pytest.approx([100 * end for end in paired_interval(gaps)])
    assert found.value == pytest.approx(100 * gaps.mean())


def test_seeds_are_averaged_and_have_to_agree() -> None:
    right, wrong = np.ones(400), np.zeros(400)
    half = np.concatenate([right[:200], wrong[:200]])
    agreeing = difference([right, right], [half, half])
    assert agreeing.by_seed == (50.0, 50.0)
    assert agreeing.settled
    apart = difference([right, half], [half, np.concatenate([right[:240], wrong[:160]])])
    assert apart.low > 0
    assert not apart.settled
    words = "not all seeds agree on the sign: these runs do not tell them apart; by seed +50.0, -10.0"
    assert words in sentence(row(apart))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Difference(3.0, 0.4, 5.6, 1000, (3.0,)), "a is 3.0 points above b in accuracy on clean"),
        (Difference(-3.0, -5.6, -0.4, 1000, (-3.0,)), "a is 3.0 points below b in accuracy on clean"),
        (Difference(3.0, -0.1, 6.1, 1000, (3.0,)), "which includes 0: this run does not tell them apart"),
        (Difference(0.0, 0.0, 0.0, 1000, (0.0,)), "which includes 0: this run does not tell them apart"),
    ],
)
def test_a_sentence_is_never_stronger_than_its_interval(found: Difference, said: str) -> None:
    text = sentence(row(found))
    assert said in text
    assert f"{found.low:+.1f} to {found.high:+.1f} (n = 1,000)" in text
    assert ("above" in text or "below" in text) == (found.low > 0 or found.high < 0)


def runs_at(accuracies: dict[str, tuple[float, float]], images: int = 4000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Runs by name with these shares right without shift and under each of two shifts, on the same images."""
    hard = np.random.default_rng(seed).random(images)
    return {
        name: {"clean": hard < clean, **dict.fromkeys(("blur", "noise"), hard < shifted)}
        for name, (clean, shifted) in accuracies.items()
    }


LINE = {"s1-s0": (0.4, 0.3), "s2-s0": (0.5, 0.39), "s3-s0": (0.6, 0.49)}


def measured_on_line(others: dict[str, tuple[float, float]], images: int = 4000) -> Measured:
    """Effective robustness of three runs on a line, and of others."""
    measured = above_line(runs_at({**LINE, **others}, images), list(LINE), "clean", ("blur", "noise"))
    assert measured is not None
    return measured


def test_the_line_goes_through_the_baseline_and_tells_what_is_above() -> None:
    measured = measured_on_line({"robust-s0": (0.5, 0.49)})
    assert all(abs(measured.values[name][0]) < 0.5 for name in LINE)
    value, *draws = measured.values["robust-s0"]
    assert value == pytest.approx(10, abs=0.7)
    assert middle(draws)[0] > 0
    assert not any(measured.marks.values())
    answers = runs_at(LINE)
    assert above_line(answers, list(LINE)[:2], "clean", ("blur", "noise")) is None
    same = dict.fromkeys(("a", "b", "c"), answers["s1-s0"])
    assert above_line(same, ["a", "b", "c"], "clean", ("blur", "noise")) is None


def test_the_line_is_the_naive_one() -> None:
    answers = runs_at({**LINE, "other-s0": (0.45, 0.44)}, images=300)
    value, *draws = measured_on_line({"other-s0": (0.45, 0.44)}, images=300).values["other-s0"]
    x, y = (np.array([answers[name][each].mean() for name in LINE]) for each in ("clean", "blur"))
    other = {each: np.array([answers["other-s0"][each].mean()]) for each in ("clean", "blur")}
    gap = other["blur"] - line_through(x, y)(other["clean"])
    assert value == pytest.approx(100 * float(gap[0]))
    assert abs(float(np.mean(draws)) - value) < 1
    assert 1 < float(np.std(draws)) < 6


def test_a_weak_model_that_loses_less_in_points_is_not_called_robust() -> None:
    """The raw drop of a weak model is small because it has little to lose; the line and the log-odds know that."""
    on_it = {"weak-s0": (0.2, 0.138), "strong-s0": (0.6, 0.49)}
    answers = runs_at({**LINE, **on_it})
    lost = {name: answers[name]["clean"].mean() - answers[name]["blur"].mean() for name in on_it}
    assert lost["weak-s0"] < lost["strong-s0"] - 0.03
    pair = [("weak-s0", "strong-s0")]
    assert abs(measured_on_line(on_it).difference(pair).value) < 1.5
    assert abs(kept_log_odds(answers, "clean", ("blur", "noise")).difference(pair).value) < 0.1


def test_a_joint_interval_carries_images_seeds_and_fit() -> None:
    generator = np.random.default_rng(0)
    images, fits = (np.concatenate([[0.0], generator.normal(0, size, 1000)]) for size in (1, 2))
    joint = {"a": 10 + images + fits, "b": 8 + images + fits, "c": 10 + fits, "d": np.full(1001, 8.0)}
    measured = Measured(joint | {"e": np.full(1001, 10.0), "f": np.full(1001, 14.0)}, 100)
    paired = measured.difference([("a", "b")])
    assert (paired.value, round(paired.low, 6), round(paired.high, 6)) == (2.0, 2.0, 2.0), "one draw for both arms"
    alone = measured.difference([("c", "d")])
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * 2, rel=0.1)
    spread = measured.difference([("e", "d"), ("f", "d")])
    assert (spread.value, spread.by_seed) == (4.0, (2.0, 6.0))
    assert (spread.low, spread.high) == (2.0, 6.0), "with two seeds a draw may hold one of them twice"
    assert draw_seeds(3).sum(axis=1).tolist() == [3] * 1000


def test_the_papers_differences_rest_on_the_fits_of_its_table() -> None:
    generator = np.random.default_rng(0)
    hard = {name: generator.random(2000) for name in ("imagenet", "imagenet-v2", "imagenet-r", "imagenet-a")}
    shares = {"a-s0": (0.5, 0.42, 0.3, 0.1), "b-s0": (0.5, 0.37, 0.3, 0.1)}
    answers = {
        run: {name: hard[name] < share for name, share in zip(hard, given, strict=True)}
        for run, given in shares.items()
    }
    found = effective_robustness(answers, list(hard))
    assert list(found) == ["imagenet-v2", "imagenet-r", "imagenet-a", "the mean of imagenet-v2, imagenet-r"]
    results = [
        Result(run, {name: 100 * float(each.mean()) for name, each in given.items()}, images=dict.fromkeys(given, 2000))
        for run, given in answers.items()
    ]
    for model in measure_robustness(results, all_classes=True).models:
        for column, shift in model.shifts.items():
            value, *draws = found[column].values[model.result.model]
            assert value == pytest.approx(shift.value)
            assert middle(draws) == pytest.approx(shift.interval, abs=0.6)
    paired = found["imagenet-v2"].difference([("a-s0", "b-s0")])
    gap = answers["a-s0"]["imagenet-v2"].mean() - answers["b-s0"]["imagenet-v2"].mean()
    assert paired.value == pytest.approx(100 * float(gap))
    assert paired.high - paired.low < 3, "both arms have the images and the fit of a draw"


def test_a_factors_sentence_is_made_of_its_headlines() -> None:
    above, unclear = Difference(3.0, 0.4, 5.6, 1000, (3.0,)), Difference(1.0, -2.0, 4.0, 1000, (1.0,))
    told = [row(above, "a", "b", headline=True), row(unclear, "a", "c", headline=True), row(above, "a", "d")]
    assert factor_sentence(told) == (
        "In accuracy on clean, 1 of 2 comparisons show a difference: a is 3.0 points above b; the intervals of the "
        "others lie within -2.0 and +4.0 points."
    )
    assert factor_sentence([row(unclear, headline=True)]) == (
        "In accuracy on clean, 0 of 1 comparisons show a difference; the intervals of the differences lie within "
        "-2.0 and +4.0 points."
    )
    assert factor_sentence([row(above)]) == ""
    odds = Difference(-0.5, -0.75, -0.25, 1000, (-0.5,))
    assert sentence(row(odds, unit=LOG_ODDS)).startswith("a is 0.50 log-odds below b in accuracy on clean")


def test_a_sentence_says_where_the_baseline_has_no_models() -> None:
    marks = measured_on_line({"weak-s0": (0.2, 0.138), "within-s0": (0.45, 0.35)}).marks
    assert (marks["weak-s0"], marks["within-s0"]) == ("extrapolated", "")
    for mark, words in (("extrapolated", "outside the accuracies of"), ("sparse", "has few models")):
        told = replace(row(Difference(3.0, 0.4, 5.6, 1000, (3.0,))), mark=mark)
        assert words in sentence(told)
        assert read_rows(write_rows([told])) == [told]


HOSTILE = (
    "<script>alert(1)</script> | [x](javascript:alert(1)) **b** `c` ![i](http://e.example/i.png)\n# h\x1b[31m\u202e"
)


def test_a_hostile_caption_makes_no_markup() -> None:
    shown = escape(HOSTILE)
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "<" not in shown
    assert ">" not in shown
    for mark in "|[]*`:#":
        assert all(shown[at - 1] == "\\" for at, letter in enumerate(shown) if letter == mark), mark
    assert len(table(["a"], [[shown]]).splitlines()) == 3
    assert escape("x" * 600).endswith("… (600 characters)")
