"""Differences of arms and of curves along sizes, against references and known truths, and sentences on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from imagenet_captions.ablations.comparing import (
    ACCURACY,
    MATCHED,
    FactorResult,
    Measured,
    Row,
    RunResult,
    above_line,
    adjust,
    compare_curves,
    difference,
    effective_robustness,
    factor_sentence,
    interpolate,
    line_through,
    logit,
    mean_difference,
    sentence,
    write_rows,
)
from imagenet_captions.ablations.factors import make_table
from imagenet_captions.ablations.inputs import Rows
from imagenet_captions.ablations.plan import plan_runs
from imagenet_captions.ablations.report import Report, escape
from imagenet_captions.ablations.runs import PRESETS, Ask, TrainingSet
from imagenet_captions.ablations.settings import AblateSettings, parse_sizes
from imagenet_captions.errors import InputError, markdown_table
from imagenet_captions.evaluation.intervals import (
    Estimate,
    Floats,
    Pairs,
    image_variances,
    mcnemar,
    middle,
    over_seeds_and_images,
    paired_interval,
)
from imagenet_captions.evaluation.robustness.measure import measure_robustness
from imagenet_captions.evaluation.robustness.tables import Result
from tests.ablations.made import read_rows


def row(found: Estimate, first: str = "a", second: str = "b", headline: bool = False) -> Row:
    cells = {"kind": ACCURACY, "quantity": "accuracy on clean", "headline": headline, "images": 1000}
    return Row(factor="size", first=first, second=second, **cells, **asdict(found))


def of_arms(values: Mapping[str, Floats], pairs: list[tuple[str, str]]) -> Estimate:
    gaps = [values[first] - values[second] for first, second in pairs]
    return mean_difference(np.stack(gaps, axis=1))


def of(value: float, low: float, high: float, p_value: float, seeds: int = 1) -> Estimate:
    return Estimate(value, low, high, p_value, (value,) * seeds)


def test_one_seed_is_mcnemars_test_and_several_are_for_new_ones() -> None:
    generator = np.random.default_rng(2)
    first, second = (generator.random((3, 400)) < share for share in (0.6, 0.5))
    one = difference(first[:1], second[:1])
    counts = (int((first[0] & ~second[0]).sum()), int((second[0] & ~first[0]).sum()))
    assert one.p_value == mcnemar(Pairs(400, *counts))
    ends = paired_interval(first[0].astype(float) - second[0])
    assert (one.low, one.high) == pytest.approx([100 * end for end in ends])
    several = difference(first, second)
    gaps = 100 * (first.astype(float) - second)
    expected = over_seeds_and_images(gaps.mean(axis=1), *image_variances(gaps))
    assert (several.value, several.low, several.p_value) == (expected.value, expected.low, expected.p_value)
    assert several.by_seed == pytest.approx(gaps.mean(axis=1).tolist())
    drawn = [1.0, 4.0, 0.0]
    fitted = mean_difference(np.array([[2.0], *([draw] for draw in drawn)]))
    assert fitted.p_value == pytest.approx(2 * norm.sf(2.0 / stdev(drawn)))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((3.0, 0.4, 5.6, 0.02), "a is 3.0 points above b in accuracy on clean"),
        ((-3.0, -5.6, -0.4, 0.02), "a is 3.0 points below b in accuracy on clean"),
        ((3.0, -0.1, 6.1, 0.06), "tell the"),
        ((0.0, 0.0, 0.0, 1.0), "tell the"),
    ],
)
def test_a_verdict_is_holms_and_says_for_whom(found: tuple[float, float, float, float], said: str, seeds: int) -> None:
    (told,) = adjust([row(of(*found, seeds), headline=True)])
    text = sentence(told)
    assert said in text
    assert f"{found[1]:+.1f} to {found[2]:+.1f} (n = 1,000; p = {found[3]:.2g} by Holm)" in text
    assert ("above" in text or "below" in text) == told.is_different == (found[3] < 0.05)
    assert ("two trained models" in text) == (seeds == 1)
    assert ("by seed" in text) == (seeds > 1)


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
    close = {"a": (0.5, 0.4), "b": (0.504, 0.4), "c": (0.508, 0.4)}
    assert above_line(runs_at(close), list(close), "clean", ("blur", "noise")) is None, "it does not surely rise"
    assert above_line(answers, list(LINE)[:2], "clean", ("blur", "noise")) is None


def test_the_line_is_the_naive_one() -> None:
    answers = runs_at({**LINE, "other-s0": (0.45, 0.44)}, images=300)
    value, *draws = measured_on_line({"other-s0": (0.45, 0.44)}, images=300).values["other-s0"]
    x, y = (np.array([answers[name][each].mean() for name in LINE]) for each in ("clean", "blur"))
    other = {each: np.array([answers["other-s0"][each].mean()]) for each in ("clean", "blur")}
    gap = other["blur"] - line_through(x, y)(other["clean"])
    assert value == pytest.approx(100 * float(gap[0]))
    assert abs(float(np.mean(draws)) - value) < 1
    assert 1 < float(np.std(draws)) < 6


def test_a_joint_interval_carries_images_seeds_and_fit() -> None:
    generator = np.random.default_rng(0)
    images, fits = (np.concatenate([[0.0], generator.normal(0, size, 1000)]) for size in (1, 2))
    joint = {"a": 10 + images + fits, "b": 8 + images + fits, "c": 10 + fits, "d": np.full(1001, 8.0)}
    values = joint | {"e": np.full(1001, 10.0), "f": np.full(1001, 14.0)}
    paired = of_arms(values, [("a", "b")])
    assert (paired.value, round(paired.low, 6), round(paired.high, 6)) == (2.0, 2.0, 2.0), "one draw for both arms"
    alone = of_arms(values, [("c", "d")])
    assert alone.high - alone.low == pytest.approx(2 * 1.96 * 2, rel=0.1)
    spread = of_arms(values, [("e", "d"), ("f", "d")])
    assert (spread.value, spread.by_seed) == (4.0, (2.0, 6.0))
    assert spread.high - spread.value == pytest.approx(12.706 * 2, rel=1e-3), "Student's t with one degree of freedom"
    images = of_arms(values, [("a", "d"), ("a", "d")])
    assert images.high - images.value == pytest.approx(1.96 * np.sqrt(1 + 4), rel=0.1), "seeds that agree"


def test_the_papers_differences_rest_on_the_fits_of_its_table() -> None:
    generator = np.random.default_rng(0)
    hard = {name: generator.random(2000) for name in ("imagenet", "imagenet-v2", "imagenet-r", "imagenet-a")}
    shares = {"a-s0": (0.5, 0.42, 0.3, 0.1), "b-s0": (0.5, 0.37, 0.3, 0.1)}
    answers = {
        run: {name: hard[name] < share for name, share in zip(hard, given, strict=True)}
        for run, given in shares.items()
    }
    found = effective_robustness(answers, list(hard))
    of, mean = "effective robustness on", "effective robustness, the mean of imagenet-v2, imagenet-r"
    assert list(found) == [f"{of} imagenet-v2", f"{of} imagenet-r", f"{of} imagenet-a", mean]
    results = [
        Result(run, {name: 100 * float(each.mean()) for name, each in given.items()}, images=dict.fromkeys(given, 2000))
        for run, given in answers.items()
    ]
    for model in measure_robustness(results, all_classes=True).models:
        for column, shift in model.shifts.items():
            value, *draws = found[f"{of} {column}"].values[model.result.model]
            assert value == pytest.approx(shift.value)
            assert middle(draws) == pytest.approx(shift.interval, abs=0.6)
    paired = of_arms(found[f"{of} imagenet-v2"].values, [("a-s0", "b-s0")])
    gap = answers["a-s0"]["imagenet-v2"].mean() - answers["b-s0"]["imagenet-v2"].mean()
    assert paired.value == pytest.approx(100 * float(gap))
    assert paired.high - paired.low < 3, "both arms have the images and the fit of a draw"


def test_a_factors_sentence_is_made_of_its_headlines() -> None:
    above, unclear = of(3.0, 0.4, 5.6, 0.001), of(1.0, -2.0, 4.0, 0.5)
    told = [row(above, "a", "b", headline=True), row(unclear, "a", "c", headline=True), row(above, "a", "d")]
    assert factor_sentence(adjust(told)) == (
        "In accuracy on clean, 1 of 2 comparisons show a difference: a is 3.0 points above b; the intervals of the "
        "others lie within -2.0 and +4.0 points."
    )
    assert factor_sentence(adjust([row(above)])) == ""


def test_a_sentence_says_where_the_baseline_has_no_models() -> None:
    marks = measured_on_line({"weak-s0": (0.2, 0.138), "within-s0": (0.45, 0.35)}).marks
    assert (marks["weak-s0"], marks["within-s0"]) == ("extrapolated", "")
    for mark, words in (("extrapolated", "outside the accuracies of"), ("sparse", "has few models")):
        told = replace(row(of(3.0, 0.4, 5.6, 0.02)), mark=mark)
        assert words in sentence(told)
        assert read_rows(write_rows([told])) == [told]


def test_a_hostile_caption_makes_no_markup() -> None:
    shown = escape("<script>x</script> | [x](javascript:x) **b** `c` ![i](http://e.example/i.png)\n# h\x1b[31m\u202e")
    assert not set("\n\x1b\u202e<>") & set(shown)
    assert all(shown[at - 1] == "\\" for at, letter in enumerate(shown) if letter in "|[]*`:#")
    assert len(markdown_table(["a"], [[shown]]).splitlines()) == 3
    assert escape("x" * 600).endswith("… (600 characters)")


SETS = ("imagenet", "imagenet-v2", "imagenet-r")
DATA = (TrainingSet("a", 64_000, False), TrainingSet("b", 32_000, False))
SIZES = (1, 0.5, 16_000, 0.25, 50_000)
ASK = Ask(DATA, PRESETS["paper"], (0,), sizes=SIZES)


def expit(x: float | Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(x))))


def under_shift(x: float, effect: float) -> float:
    """The truth: log-odds under every shift at log-odds `x` without."""
    return 0.9 * x - 0.6 + effect


def simulate(
    draw: int, levels: dict[str, tuple[float, float]], effect: float = 0.0, seeds: int = 3, images: int = 1500
) -> FactorResult:
    """Arms whose log-odds grow evenly with the size between levels; seeds vary, and images are alike for all."""
    generator = np.random.default_rng(draw)
    table = make_table("distribution", replace(ASK, seeds=tuple(range(seeds))))
    settings = AblateSettings(("distribution",), {}, Path())
    planned = plan_runs(settings, [table], lambda _, pick: Rows(pick.rows or 0))
    hard = {name: generator.random(images) for name in SETS}
    ends = {data.name: list(ASK.shares(data, 3))[::-1] for data in DATA}
    results = {}
    for run in table.runs:
        place = ends[run.data].index(run.pick.rows or 0) / (len(ends[run.data]) - 1)
        low, high = levels[run.data]
        x = low + (high - low) * place + generator.normal(0, 0.03)
        y = under_shift(x, effect if run.data == "a" else 0) + generator.normal(0, 0.03)
        answers = {}
        for name, level in zip(SETS, (x, y, y), strict=True):
            own = generator.random(images)
            alike = generator.random(images) < 0.5  # half of the images are hard for all models or for none
            answers[name] = np.where(alike, hard[name], own) < expit(level)
        results[run.name] = RunResult(**vars(planned[run.name]), answers=answers)
    return FactorResult(table, results, {})


def matched(factor: FactorResult, micro: bool = False) -> list[Row]:
    clip = replace(factor, table=replace(factor.table, curves=factor.table.curves[:1]))
    return list(compare_curves(clip, SETS, micro))


BOTH = {"a": (-1.2, 0.2), "b": (-1.0, 0.5)}


def test_every_source_has_its_sizes_and_seeds_draw_their_own() -> None:
    table = simulate(0, BOTH, images=10).table
    rows = {data.name: {run.pick.rows for run in table.runs if run.data == data.name} for data in DATA}
    assert rows == {"a": {64_000, 50_000, 32_000, 16_000}, "b": {32_000, 16_000, 8_000}}
    for run in table.runs:
        assert run.pick.seed == run.seed, "all arms of a seed share its draw, in which smaller samples lie"
    assert table.curves[0].arms[1] == ("clip-b-32000", "clip-b-16000", "clip-b-8000")
    questions = [comparison.first for comparison in table.comparisons]
    assert questions == ["clip-a-64000", "clip-b-32000"], "on the same images, for the largest size"


def test_intervals_cover_the_difference_at_that_accuracy() -> None:
    inside, values, effect = [], [], 0.25
    for draw in range(20):
        *_, row = matched(simulate(draw, BOTH, effect, images=300))
        at = float(logit(float(row.quantity.split(" at ")[1].split()[0]) / 100))
        truth = 100 * float(expit(under_shift(at, effect)) - expit(under_shift(at, 0)))
        inside.append(row.low <= truth <= row.high)
        values.append(row.value - truth)
        assert (row.kind, row.headline, len(row.by_seed), row.images) == (MATCHED, True, 3, 600)
    assert np.mean(inside) >= 0.85
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(20)
    *_, row = matched(simulate(0, BOTH, images=300), micro=True)
    assert (row.kind, row.images) == (MATCHED, 300), "micro shifts are the clean set's own images"


def test_sources_are_compared_in_the_middle_of_what_every_seed_covers() -> None:
    factor = simulate(0, BOTH, images=300)
    lows, highs = [], []
    for arms in factor.table.curves[0].arms:
        for seed in range(3):
            runs = [result for result in factor.results.values() if result.run.arm in arms and result.run.seed == seed]
            clean = [float(logit(result.answers["imagenet"].mean())) for result in runs]
            lows.append(min(clean))
            highs.append(max(clean))
    middle = 100 * float(expit((max(lows) + min(highs)) / 2))
    assert {row.quantity.split(" at ")[1] for row in matched(factor)} == {f"{middle:.2f} % on imagenet"}


def test_a_curve_is_the_naive_one_and_is_bounded_beyond_its_points() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(4, 50)), generator.normal(size=(4, 50, 2))
    found = interpolate(x, y, 0.1)
    for draw in range(50):
        order = np.argsort(x[:, draw])
        at, values = x[order, draw], y[order, draw]
        if at[0] <= 0.1 <= at[-1]:
            assert found[draw] == pytest.approx([np.interp(0.1, at, column) for column in values.T])
    close = np.array([[0.0], [1e-9], [0.0]])
    assert np.abs(interpolate(close, np.array([[[0.0]], [[1.0]], [[2.0]]]), 5.0)).max() <= 4


def test_without_overlap_nothing_is_compared_and_the_sentence_says_so() -> None:
    [row] = matched(simulate(0, {"a": (-3.0, -2.0), "b": (-0.5, 0.5)}, seeds=1))
    assert (row.mark, row.headline, row.p_holm) == ("no overlap", False, None)
    told = sentence(row)
    assert told.startswith("clip-a and clip-b: no overlap in accuracy on imagenet (")
    assert told.endswith(" %), so they are not compared.")


def test_the_report_has_their_table_and_sentences_of_the_csv(tmp_path: Path) -> None:
    whole = simulate(0, BOTH, 0.3, 1, images=300)
    results = {
        name: replace(each, answers={}, failure="broken") if each.run.arm == "clip-b-16000" else each
        for name, each in whole.results.items()
    }
    for factor, compared in ((whole, True), (replace(whole, results=results), False)):
        Report(tmp_path, False, 1, {"a": 64_000, "b": 32_000}, SETS).write(tmp_path / "report.md", [factor])
        report = (tmp_path / "report.md").read_text(encoding="utf-8")
        rows = read_rows((tmp_path / "comparisons.csv").read_text(encoding="utf-8"))
        assert any((row.first, row.second, row.kind) == ("clip-a", "clip-b", MATCHED) for row in rows) == compared
        assert all(f"- {sentence(row)}" in report.splitlines() for row in rows)
        assert ("Not compared: fewer than three sizes" in report) == (not compared)
    assert "| arm | other arm | quantity | difference in points |" in report
    assert "these trainings" in report


@pytest.mark.parametrize(
    ("factor", "sizes", "words"),
    [
        ("distribution", "1,0.5", "a has 64,000 images, and `sizes` needs 3 sizes of it"),
        ("distribution", "1,0.5,40000", "b has 32,000 images"),
        ("loss", "1,0.5", "`sizes` has no effect on loss"),
        ("size", "1,half", "`sizes` must be numbers such as"),
        ("size", "1,1.5", "must be shares up to 1 or whole numbers of images, not 1.5"),
    ],
)
def test_wrong_sizes_are_one_sentence(factor: str, sizes: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_table(factor, replace(ASK, sizes=AblateSettings((factor,), {}, Path(), sizes=parse_sizes(sizes)).sizes))
