"""Comparisons of results: what is paired, what is refused, what is written."""

from __future__ import annotations

import csv
import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import imagenet_captions as ic
from imagenet_captions.evaluation.intervals import image_variances, over_seeds_and_images
from imagenet_captions.evaluation.results import answers_path
from tests.command_line import invoke
from tests.evaluation.comparison.made_results import KEYS, ids_of, write_result

RANDOM = np.random.default_rng(3)
FIRST = RANDOM.random(300) < 0.5
SECOND = np.where(RANDOM.random(300) < 0.2, ~FIRST, FIRST)


run = partial(invoke, "compare")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    own = FIRST[:30]
    return (
        write_result(tmp_path / "a", {"clean": FIRST, "own": own}),
        write_result(tmp_path / "b", {"clean": SECOND, "own": own}),
    )


def test_every_count_by_hand(pair: tuple[Path, Path]) -> None:
    clean, own = ic.compare(*pair)
    gains, losses = (int(np.sum(one & ~other)) for one, other in ((SECOND, FIRST), (FIRST, SECOND)))
    assert (clean.test_set, clean.images) == ("clean", 300)
    assert (clean.only_first, clean.only_second) == (losses, gains)
    assert clean.difference == pytest.approx(100 * (SECOND.mean() - FIRST.mean()))
    assert clean.interval[0] < clean.difference < clean.interval[1]
    assert {(each.key, each.images, each.first, each.second) for each in clean.classes} == {
        (key, 100, FIRST[at::3].sum(), SECOND[at::3].sum()) for at, key in enumerate(KEYS)
    }
    moved = [abs(each.second - each.first) for each in clean.classes]
    assert moved == sorted(moved, reverse=True)
    assert (own.difference, own.p_value, own.interval[0]) == (0, 1, -own.interval[1])


def test_runs_of_a_recipe_are_compared_for_new_runs_and_images(tmp_path: Path) -> None:
    arms = {}
    for arm, share in (("a", 0.5), ("b", 0.7)):
        right = np.random.default_rng(ord(arm)).random((3, 300)) < share
        arms[arm] = right, [write_result(tmp_path / f"{arm}-s{seed}", {"x": row}) for seed, row in enumerate(right)]
    (first, files), (second, others) = arms.values()
    (found,) = ic.compare(files, others)
    gaps = 100.0 * (second.astype(float) - first)
    expected = over_seeds_and_images(gaps.mean(axis=1), *image_variances(gaps))
    assert (found.difference, *found.interval, found.p_value) == pytest.approx(
        (expected.value, expected.low, expected.high, expected.p_value)
    )
    assert (found.images, found.only_second) == (900, int((gaps > 0).sum()))
    assert sum(each.second for each in found.classes) == second.sum()
    out = tmp_path / "compare.csv"
    texts = [",".join(map(str, each)) for each in (files, others)]
    code, output = run(*texts, "--out", out)
    assert code == 0, output
    assert "for new runs and images" in output
    (row, *_) = csv.DictReader(out.read_text().splitlines())
    assert (row["p_from"], row["detectable"], row["model"]) == ("runs and images", "", f"{others[0]} and 2 more")
    code, output = run(texts[0], others[0])
    assert (code, "give as many runs of each" in output) == (2, True)


def test_images_are_paired_by_name_and_not_by_place(tmp_path: Path) -> None:
    """Another layout has the same images in another order, under other folders."""
    first = write_result(tmp_path / "a", {"x": FIRST}, {"x": ids_of(300)})
    turned = ids_of(300, "val/")[30:] + ids_of(300, "val/")[:30]
    second = write_result(tmp_path / "b", {"x": np.roll(FIRST, -30)}, {"x": turned})
    (found,) = ic.compare(first, second)
    assert (found.images, found.only_first, found.only_second, found.protocol) == (300, 0, 0, ())


def test_other_protocols_are_refused(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    first, _ = pair
    own = FIRST[:30]
    others = {
        "prompts": write_result(tmp_path / "c", {"clean": SECOND, "own": own}, sentences="none"),
        "class names": write_result(tmp_path / "d", {"clean": SECOND, "own": own}, names="s"),
        "test images": write_result(tmp_path / "e", {"clean": SECOND[:299], "own": own}),
        "classifier": write_result(tmp_path / "f", {"clean": SECOND, "own": own}, kind="head", names="s"),
    }
    for what, other in others.items():
        code, output = run(first, other)
        assert (code, output.count("\n")) == (2, 1)
        assert f"clean: {what}" in output
        assert "--across-protocols" in output
        code, output = run(first, other, "--across-protocols")
        assert code == 0, output
        (row,) = (line for line in output.splitlines() if " clean " in line and "%" in line)
        assert row.endswith(f"  {what}")
    metrics = json.loads(others["prompts"].read_text())
    metrics["protocol"] |= {"version": 0, "sentences_sha256": "one"}
    others["prompts"].write_text(json.dumps(metrics))
    assert "clean: version" in run(first, others["prompts"])[1]


def test_across_protocols_only_the_common_images_count(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    fewer = write_result(tmp_path / "few", {"clean": SECOND[30:]}, {"clean": ids_of(300)[30:]})
    (found,) = ic.compare(pair[0], fewer, across_protocols=True)
    assert found.images == 270
    assert found.first_top1 == pytest.approx(100 * FIRST[30:].mean())
    apart = write_result(tmp_path / "apart", {"clean": SECOND}, {"clean": [f"x{each}" for each in ids_of(300)]})
    with pytest.raises(ic.InputError, match="have no image of clean in common"):
        ic.compare(pair[0], apart, across_protocols=True)


def test_several_models_in_a_table_a_csv_and_a_figure(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    pytest.importorskip("matplotlib")
    third = write_result(tmp_path / "c", {"clean": ~FIRST})
    out, plot = tmp_path / "compare.csv", tmp_path / "compare.svg"
    code, output = run(pair[0].parent, pair[1], third.parent, "--out", out, "--plot", plot)
    assert code == 0, output
    found = ic.compare(pair[0].parent, pair[1], third.parent)
    expected = [(pair[1], "clean"), (pair[1], "own"), (third.parent, "clean")]
    assert [(Path(each.second), each.test_set) for each in found] == expected
    assert f"{found[0].difference:+.2f}" in output
    assert "of 100 tench" in output, "a class of ImageNet has its name"
    rows = list(csv.DictReader(out.read_text().splitlines()))
    whole = [row for row in rows if not row["class"]]
    assert [float(row["difference"]) for row in whole] == pytest.approx([each.difference for each in found], abs=1e-4)
    assert [row["p_from"] for row in whole] == ["mid-p"] * 3
    assert [row["class_name"] for row in rows if row["class"] == "n01440764"] == ["tench"] * 3
    assert len(rows) == 3 + 3 * len(KEYS)
    drawn = plot.read_text()
    heights = []
    for thing in ('style="fill: #0072b2', 'style="fill: #d55e00'):
        found_at = re.search(f'<use [^>]* y="([0-9.]+)" {thing}', drawn)
        heights.append(float(found_at[1]) if found_at else 0)
    middle = re.search(r'id="ytick_1".*?<use [^>]* y="([0-9.]+)"', drawn, re.DOTALL)
    assert middle
    assert np.mean(heights) == pytest.approx(float(middle[1])), "around the name of the set"


def test_results_without_answers(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    first, second = pair
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"model": "m", "test_sets": {"clean": {"n": 300, "top1": 0.5}}}))
    for place, message in (
        (old, "has no old.answers.parquet with it, which a comparison reads; evaluate again"),
        (tmp_path / "nowhere", "nowhere does not exist"),
        (tmp_path, "metrics.json does not exist"),
        (answers_path(second), "has not the expected content"),
    ):
        code, output = run(first, place)
        assert code == 2
        assert output.count("\n") == 1, output
        assert message in output
    answers_path(second).write_bytes(answers_path(first).read_bytes())
    assert "does not hold the answers of" in run(first, second)[1]
    other = write_result(tmp_path / "c", {"else": SECOND})
    assert "have no test set in common (clean, own; else)" in run(first, other)[1]
    assert "needs two models" in run(first)[1]
    assert "figure.jpg is not a .png or .svg file" in run(first, first, "--plot", "figure.jpg")[1]
