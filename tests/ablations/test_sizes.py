"""Arms that are compared along their sizes at one accuracy, with simulated results whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imagenet_captions.ablations.ablate import ablate
from imagenet_captions.ablations.comparing import (
    MATCHED,
    FactorResult,
    Floats,
    Row,
    RunResult,
    compare_curves,
    interpolate,
    logit,
    sentence,
)
from imagenet_captions.ablations.dry_run import describe
from imagenet_captions.ablations.factors import make_table
from imagenet_captions.ablations.inputs import Rows
from imagenet_captions.ablations.plan import plan_runs
from imagenet_captions.ablations.report import Report
from imagenet_captions.ablations.runs import PRESETS, Ask, TrainingSet
from imagenet_captions.ablations.settings import AblateSettings, parse_sizes
from imagenet_captions.errors import InputError
from tests.ablations.made import read_rows, write_micro_set

SETS = ("imagenet", "imagenet-v2", "imagenet-r")
DATA = (TrainingSet("a", 64_000, False), TrainingSet("b", 32_000, False))
SIZES = (1, 0.5, 16_000, 0.25, 50_000)


def expit(x: float | Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.asarray(x))))


def shifted(x: float, effect: float) -> float:
    """The truth: log-odds under every shift at log-odds `x` without."""
    return 0.9 * x - 0.6 + effect


def simulate(
    draw: int, levels: dict[str, tuple[float, float]], effect: float = 0.0, seeds: int = 3, images: int = 1500
) -> FactorResult:
    """Arms whose log-odds grow evenly with the size between levels; seeds vary, and images are alike for all."""
    generator = np.random.default_rng(draw)
    ask = Ask(DATA, PRESETS["paper"], tuple(range(seeds)), sizes=SIZES)
    table = make_table("distribution", ask)
    planned = plan_runs(AblateSettings(("distribution",), {}, Path()), [table], lambda run: Rows(run.pick.rows or 0))
    hard = {name: generator.random(images) for name in SETS}
    ends = {data.name: list(ask.shares(data, 3))[::-1] for data in DATA}
    results = {}
    for run in table.runs:
        place = ends[run.data].index(run.pick.rows or 0) / (len(ends[run.data]) - 1)
        low, high = levels[run.data]
        x = low + (high - low) * place + generator.normal(0, 0.03)
        y = shifted(x, effect if run.data == "a" else 0) + generator.normal(0, 0.03)
        answers = {}
        for name, level in zip(SETS, (x, y, y), strict=True):
            own = generator.random(images)
            alike = generator.random(images) < 0.5  # half of the images are hard for all models or for none
            answers[name] = np.where(alike, hard[name], own) < expit(level)
        results[run.name] = RunResult(planned[run.name], answers)
    return FactorResult(table, results, {})


def matched(factor: FactorResult) -> list[Row]:
    clip = replace(factor, table=replace(factor.table, curves=factor.table.curves[:1]))
    return list(compare_curves(clip, SETS, micro=False))


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
    names = {run.stem for run in table.runs}
    assert {"clip", "clip-16000", "text-labels", "text-labels-16000"} <= names, "runs that `size` has too"


def test_intervals_cover_the_difference_at_that_accuracy() -> None:
    inside, values, effect = [], [], 0.25
    for draw in range(20):
        *_, row = matched(simulate(draw, BOTH, effect, images=300))
        at = float(logit(float(row.quantity.split(" at ")[1].split()[0]) / 100))
        truth = 100 * float(expit(shifted(at, effect)) - expit(shifted(at, 0)))
        inside.append(row.low <= truth <= row.high)
        values.append(row.value - truth)
        assert (row.kind, row.headline, len(row.by_seed), row.images) == (MATCHED, True, 3, 600)
    assert np.mean(inside) >= 0.85
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(20)


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


def failed(factor: FactorResult, arm: str) -> FactorResult:
    return replace(
        factor,
        results={
            name: RunResult(result.planned, failure="broken") if result.run.arm == arm else result
            for name, result in factor.results.items()
        },
    )


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_report_has_their_table_and_sentences_of_the_csv(tmp_path: Path, seeds: int) -> None:
    whole = simulate(0, BOTH, 0.3, seeds, images=300)
    for factor, compared in ((whole, True), (failed(whole, "clip-b-16000"), False)):
        Report(tmp_path, False, seeds, {"a": 64_000, "b": 32_000}, SETS).write(tmp_path / "report.md", [factor])
        report = (tmp_path / "report.md").read_text(encoding="utf-8")
        rows = read_rows((tmp_path / "comparisons.csv").read_text(encoding="utf-8"))
        assert any((row.first, row.second, row.kind) == ("clip-a", "clip-b", MATCHED) for row in rows) == compared
        assert all(f"- {sentence(row)}" in report.splitlines() for row in rows)
        assert ("Not compared: fewer than three sizes" in report) == (not compared)
    assert "| arm | other arm | quantity | difference in points |" in report
    assert ("these trainings" in report) == (seeds == 1)


@pytest.mark.parametrize(
    ("sizes", "words"),
    [("1,0.5", "a has 64,000 images, and `sizes` needs 3 sizes of it"), ("1,0.5,40000", "b has 32,000 images")],
)
def test_too_few_sizes_of_a_source_are_refused(sizes: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_table("distribution", Ask(DATA, PRESETS["paper"], (0,), sizes=parse_sizes(sizes)))


@pytest.mark.parametrize(
    ("factor", "sizes", "words"),
    [
        ("loss", "1,0.5", "`sizes` has no effect on loss"),
        ("size", "1,half", "`sizes` must be numbers such as"),
        ("size", "1,1.5", "must be shares up to 1 or whole numbers of images, not 1.5"),
    ],
)
def test_wrong_sizes_are_one_sentence(factor: str, sizes: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        AblateSettings((factor,), {}, Path("out"), sizes=parse_sizes(sizes))


def test_the_size_factor_takes_them_too_and_the_dry_run_says_how_arms_are_compared() -> None:
    told = describe(AblateSettings(("size",), {"a": Path("64000")}, Path("out"), sizes=(1, 20_000)))
    assert told.startswith("size: 2 runs")
    assert "clip and clip-20000: Do more images than 20,000" in " ".join(told.split())
    data = {"a": Path("64000"), "b": Path("32000")}
    told = describe(AblateSettings(("distribution",), data, Path("out"), sizes=SIZES))
    assert "clip-a and clip-b, along 4 and 3 sizes: Does it matter where" in " ".join(told.split())


@pytest.mark.slow
def test_a_whole_micro_ablation_along_sizes(tmp_path: Path) -> None:
    data = {name: write_micro_set(tmp_path / f"{name}.parquet", 8, seed) for seed, name in enumerate("ab")}
    test = write_micro_set(tmp_path / "test.parquet", 20, seed=2)
    out, sizes = tmp_path / "out", (1, 0.5, 0.25)
    ablate(AblateSettings(("distribution",), data, out, "micro", {"test": test}, epochs=1, workers=1, sizes=sizes))
    rows = read_rows((out / "comparisons.csv").read_text(encoding="utf-8"))
    own = [row for row in rows if row.kind == MATCHED]
    assert [(row.first, row.second) for row in own] == [
        (f"{kind}-a", f"{kind}-b") for kind in ("clip", "labels", "text-labels")
    ]
    report = (out / "report.md").read_text(encoding="utf-8")
    assert all(sentence(row) in report for row in rows)
