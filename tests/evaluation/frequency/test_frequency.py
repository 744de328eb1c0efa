"""Accuracy by class against frequency: scipy's numbers, classes that are matched, and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.frequency import (
    FREQUENCIES,
    draw_frequency,
    format_frequency,
    measure_frequency,
)
from imagenet_captions.images.examples import Class, ClassCount
from tests.command_line import invoke
from tests.evaluation.made_sets import picture

CAPTIONS = {"cat": ["a cat", "two cats", "my dog and cat", ""], "dog": ["Dog!", "at the beach"], "owl": ["night"]}


def metrics_of(test_set: str, per_class: dict[str, tuple[int, int]]) -> dict[str, object]:
    counted = {key: {"n": n, "correct": correct} for key, (n, correct) in per_class.items()}
    return {"test_sets": {test_set: {"n": sum(n for n, _ in per_class.values()), "top1": 0.5, "per_class": counted}}}


def write_data(path: Path) -> Path:
    rows = [(name, caption) for name, captions in CAPTIONS.items() for caption in captions]
    names = list(CAPTIONS)
    table = {
        "image_id": [f"image_{row}" for row in range(len(rows))],
        "image": [{"bytes": picture(row, size=8), "path": None} for row in range(len(rows))],
        "label": [names.index(name) for name, _ in rows],
        "class_name": [name for name, _ in rows],
        "title": [caption for _, caption in rows],
        "caption": [caption for _, caption in rows],
    }
    pq.write_table(pa.table(table), path)
    return path


def test_the_numbers_are_scipys() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 6, 40) ** 3  # with ties, and classes that never occur
    correct = generator.integers(0, 11, 40)
    per_class = {f"class {at}": (10, int(right)) for at, right in enumerate(correct)}
    known = [ClassCount(Class(f"class {at}", f"class {at}"), int(count), 1) for at, count in enumerate(counts)]
    report = measure_frequency(metrics_of("own", per_class), known)
    found = report.relations[0]
    assert (found.frequency, found.classes, found.absent) == ("images", 40, int((counts == 0).sum()))
    assert found.spearman == pytest.approx(stats.spearmanr(counts, correct).statistic, abs=1e-12)
    line = stats.linregress(np.log10(counts[counts > 0]), 10.0 * correct[counts > 0])
    assert found.slope == pytest.approx(line.slope, rel=1e-9)
    assert found.intercept == pytest.approx(line.intercept, rel=1e-9)
    half = stats.t.isf(0.025, (counts > 0).sum() - 2) * line.stderr
    assert found.interval == pytest.approx((line.slope - half, line.slope + half), rel=1e-9)
    assert f"{line.slope:+.2f} [{line.slope - half:+.2f}, {line.slope + half:+.2f}]" in format_frequency(report)
    assert report.relations[1].spearman is None  # every class is named once
    assert report.relations[1].slope is None
    assert format_frequency(report).endswith("their counts span less than twofold")


@pytest.mark.parametrize(
    ("counts", "has_slope"),
    [(range(304, 328, 2), False), (range(304, 609, 38), True), ((300, 590, 599), False), ((9, 900), False)],
)
def test_a_slope_takes_three_classes_whose_counts_span_a_factor_of_two(counts: range, has_slope: bool) -> None:
    names = [*map(str, counts), "0", "00"]
    known = [ClassCount(Class(name, name), int(name), 1) for name in names]
    per_class = {name: (400, 40 + 25 * (at % 7)) for at, name in enumerate(names)}
    found = measure_frequency(metrics_of("own", per_class), known).relations[0]
    assert (found.slope is not None, bool(found.format_slope())) == (has_slope, has_slope)
    assert found.spearman is not None


def test_classes_are_matched_by_wnid_and_objectnets_stand_for_several() -> None:
    tench, dishes = "n01440764", ("n02107142", "n02107312")
    known = [
        ClassCount(Class(wnid, wnid), at, 10 * at) for at, wnid in enumerate((tench, *dishes, "n01443537"), start=1)
    ]
    report = measure_frequency(metrics_of("imagenet", dict.fromkeys((tench, *dishes, "n01484850"), (1, 1))), known)
    assert [(row.images, row.mentions) for row in report.rows] == [(1, 10), (2, 20), (3, 30), (0, 0)]
    assert (report.rows[0].key, report.rows[0].name) == (tench, "tench")
    bikes = [ClassCount(Class(wnid, wnid), 5, 2) for wnid in ("n02835271", "n03792782", "n02769748", "n03196217")]
    answers = {"bicycle": (4, 1), "backpack": (4, 2), "alarm_clock": (4, 3), "banana": (4, 4)}
    rows = {row.key: row.images for row in measure_frequency(metrics_of("objectnet", answers), bikes).rows}
    assert rows == {"bicycle": 10, "backpack": 5, "alarm_clock": 5, "banana": 0}  # bicycle stands for two wnids


def test_test_sets_of_other_classes_are_left_out() -> None:
    known = [ClassCount(Class(name, name), 1, 1) for name in ("cat", "dog", "owl")]
    metrics = metrics_of("own", dict.fromkeys(("cat", "dog", "owl"), (2, 1)))
    metrics["test_sets"] |= metrics_of("other", {"0": (2, 1), "1": (2, 1)})["test_sets"]  # type: ignore[operator]
    metrics["test_sets"] |= metrics_of("imagenet_on_r_classes", {"cat": (2, 1)})["test_sets"]  # type: ignore[operator]
    report = measure_frequency(metrics, known)
    assert {found.test_set for found in report.relations} == {"own"}
    assert report.left_out == ["other: 0 of its classes are in the training data, and a correlation takes 3"]
    with pytest.raises(InputError, match="nothing can be related"):
        measure_frequency(metrics_of("other", {"0": (2, 1)}), known)


def test_the_figure(tmp_path: Path) -> None:
    known = [ClassCount(Class(name, name), at, at * at) for at, name in enumerate(("cat", "dog", "owl", "$fox"))]
    report = measure_frequency(metrics_of("own_$set", {each.class_.key: (4, each.images) for each in known}), known)
    for name in ("a", "b"):
        draw_frequency(report, tmp_path / name, ".svg")
    drawn = (tmp_path / "a").read_text(encoding="utf-8")
    assert drawn == (tmp_path / "b").read_text(encoding="utf-8")
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    for text in (*(f"{what} (number)" for what in FREQUENCIES.values()), "accuracy of the class (top-1, %)", "1 never"):
        assert text in drawn, text
    alike = [ClassCount(each.class_, 5, 1) for each in known]
    report = measure_frequency(metrics_of("own", {each.class_.key: (4, each.images) for each in known}), alike)
    draw_frequency(report, tmp_path / "c", ".svg")
    assert "Spearman undefined" in (tmp_path / "c").read_text(encoding="utf-8")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_data(tmp_path / "data.parquet")
    metrics = metrics_of("own", {"cat": (10, 9), "dog": (10, 5), "owl": (10, 1)})
    Path("metrics.json").write_text(json.dumps(metrics))
    code, told = invoke("frequency", "metrics.json", "--data", "data.parquet", "--out", "classes.csv")
    assert code == 0, told
    assert re.search(r"own +training images of the class +3 +0 +\+1\.000", told), told
    header, *rows = Path("classes.csv").read_text().splitlines()
    assert header == "test_set,class,name,n,accuracy,training_images,training_mentions"
    assert rows == ["own,cat,cat,10,90.0000,4,3", "own,dog,dog,10,50.0000,2,2", "own,owl,owl,10,10.0000,1,0"]
    words = "metrics.json --data data.parquet --caption class_name --out classes.csv --overwrite"
    assert invoke("frequency", *words.split())[0] == 0
    counted = [line.split(",")[-1] for line in Path("classes.csv").read_text().splitlines()[1:]]
    assert counted == ["4", "2", "1"]
    Path("ids.txt").write_text("image_0\nimage_4\nimage_5\n")
    Path("run").mkdir()
    Path("run/metrics.json").write_text(json.dumps(metrics))
    code, told = invoke("frequency", "run")
    sentence = "without --data, the run's settings run/settings.json does not exist; check the path"
    assert (code, told) == (2, f"imagenet-captions: {sentence}\n")
    settings = {"data": str(data), "ids": {"file": "ids.txt"}, "seed": 0, "recipe": {"caption": "title"}}
    Path("run/settings.json").write_text(json.dumps(settings))
    code, told = invoke("frequency", "run", "--out", "run/classes.csv", "--plot", "run/classes.png")
    assert code == 0, told
    counted = [line.rpartition(",")[0].rpartition(",")[2] for line in Path("run/classes.csv").read_text().splitlines()]
    assert counted == ["training_images", "1", "2", "0"]
    code, told = invoke("frequency", "run", "--out", "run/settings.json", "--overwrite")
    assert code == 2
    assert "the output run/settings.json is the input run/settings.json itself" in told
    assert json.loads(Path("run/settings.json").read_text()) == settings
    Path("elsewhere").mkdir()
    Path("run/settings.json").write_text(json.dumps({**settings, "data": "data.parquet", "started_in": str(tmp_path)}))
    monkeypatch.chdir("elsewhere")
    code, told = invoke("frequency", "../run", "--out", "classes.csv")
    assert code == 0, told
    assert Path("classes.csv").read_bytes() == (tmp_path / "run/classes.csv").read_bytes()
    monkeypatch.chdir(tmp_path)
    code, told = invoke("frequency", "metrics.json", "--data", "data.parquet", "--out", "data.parquet")
    assert (code, "is the input" in told) == (2, True)
