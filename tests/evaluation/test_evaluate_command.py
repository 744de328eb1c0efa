"""`imagenet-captions evaluate` with a saved model, up to `robustness`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import save_model
from tests.command_line import invoke
from tests.evaluation.made_sets import picture, write_files, write_parquet


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro model with random weights and a head of two classes."""
    made = build_model("micro", seed=0)
    made.set_head(["cat", "dog"])
    folder = tmp_path_factory.mktemp("model") / "made"
    save_model(made, folder)
    return folder


def test_from_test_sets_to_effective_robustness(model: Path, tmp_path: Path) -> None:
    wnids = ("n01443537", "n01484850")
    files = {f"{wnid}/{number}.jpg": picture(number * 20, size=32) for wnid in wnids for number in range(4)}
    val, r = write_files(tmp_path / "val", files), write_files(tmp_path / "r", files)
    table, out = tmp_path / "RESULTS.csv", tmp_path / "metrics.json"
    arguments = f"{model} --on imagenet={val} --on imagenet-r={r} --prompts none --out {out} --overwrite".split()
    for name in ("first", "second", "second"):
        code, output = invoke("evaluate", *arguments, "--results", table, "--as", name)
        assert code == 0, output
    assert "49,992 missing" in output
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["model"] for row in rows] == ["first", "second"]
    measured = json.loads(out.read_text())["test_sets"]
    assert float(rows[0]["imagenet-r"]) == pytest.approx(measured["imagenet-r"]["top1"], abs=1e-6)
    assert rows[0]["imagenet_on_r_classes_n"] == "8"
    code, output = invoke("robustness", table, "--units", "fraction")
    assert code == 0, output


def test_a_set_of_its_own_by_head_and_by_k_shots(model: Path, tmp_path: Path) -> None:
    images = [picture(number * 10, size=32) for number in range(8)]
    path = write_parquet(tmp_path / "micro.parquet", [0, 1] * 4, ["cat", "dog"], images)
    out = tmp_path / "metrics.json"
    given = ["evaluate", model, "--on", f"micro={path}", "--out", out, "--classifier"]
    code, output = invoke(*given, "head")
    assert code == 0, output
    assert json.loads(out.read_text())["test_sets"]["micro"]["n"] == 8
    code, output = invoke(*given, "k-shot", "--train", path, "--k", 2, "--overwrite")
    assert code == 0, output
    assert "k 2, train_images 4" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("MODEL --on micro --out m.json", "give NAME=PATH"),
        ("MODEL --on imagenet=nowhere --out m.json", "--on imagenet: nowhere does not exist"),
        ("nowhere --on imagenet=val --out m.json", "nowhere"),
        ("MODEL --on imagenet=val --out m.json --results r.csv", "one of imagenet-v2"),
        ("MODEL --on imagenet=val --out m.json --as x", "give --results too"),
        ("MODEL --on imagenet=val --out m.json --classifier k-shot", "give them as --train"),
        ("MODEL --on imagenet=val --out m.json --device abacus", "--device 'abacus'"),
    ],
)
def test_mistakes_are_one_sentence(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("val").mkdir()
    code, output = invoke("evaluate", *arguments.replace("MODEL", str(model)).split())
    assert code == 2
    assert output.count("\n") == 1, output
    assert message in output
    assert not (tmp_path / "m.json").exists()
