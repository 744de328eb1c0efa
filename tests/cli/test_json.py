"""`--json`: one object on stdout and nothing else there, with the numbers of the text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagenet_captions.cli.app import command
from imagenet_captions.cli.commands import COMMANDS
from tests.command_line import run_cli
from tests.dataset.made import make_dataset, rows
from tests.evaluation.comparison.made_results import write_result
from tests.evaluation.made_sets import TENCH, picture, write_files

HAVE_IT = "verify filter export stats diff evaluate compare robustness publish explain label-by-text clean"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("json")
    make_dataset(folder, rows(2))
    for number, name in enumerate("ab"):
        write_result(folder / name, {"imagenet": np.arange(20) < 9 + number})
    return folder


def object_of(folder: Path, words: str) -> dict[str, Any]:
    done = run_cli(*words.split(), "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("verify dataset", {"files": 5, "rows": 10, "images": None}),
        ("filter dataset --per-class 1 --out-ids i.txt", {"counts": {"kept": 5, "per-class": 5}, "outputs": ["i.txt"]}),
        ("export dataset --to slim --out s.csv", {"counts": {"rows": 10, "exported": 10}, "outputs": ["s.csv"]}),
        ("stats dataset --csv c.csv", {"rows": 10, "images": None, "outputs": ["c.csv"]}),
        ("diff dataset dataset", {"equal": True, "lost": 0, "classes": {}}),
        ("label-by-text dataset --out l.parquet", {"rows": 10, "known_class": 10, "outputs": ["l.parquet"]}),
        ("explain dataset n01440764_3", {"outcome": "kept"}),
    ],
    ids=lambda each: each.split()[0] if isinstance(each, str) else "",
)
def test_an_object(folder: Path, words: str, expected: dict[str, Any]) -> None:
    found = object_of(folder, words)
    assert {name: found[name] for name in expected} == expected


def test_comparisons_and_robustness(folder: Path) -> None:
    pytest.importorskip("pandas")
    (found,) = object_of(folder, "compare a b")["comparisons"]
    assert (found["images"], found["only_second"], found["difference"]) == (20, 1, pytest.approx(5))
    (folder / "R.csv").write_text("model,imagenet,imagenet-v2\n50,0.76,0.63\nnone,,0.5\n")
    models = object_of(folder, "robustness R.csv --out ER.csv")
    assert models["outputs"] == ["ER.csv"]
    one, none = models["models"]
    assert (one["model"], one["accuracies"]["imagenet"]) == ("50", pytest.approx(76))
    assert isinstance(one["imagenet-v2_effective_robustness"], float)
    assert none["imagenet-v2_effective_robustness"] is None


def test_an_evaluation(folder: Path) -> None:
    pytest.importorskip("torch")
    from imagenet_captions.models.build import build_model
    from imagenet_captions.models.load import save_model

    save_model(build_model("micro", seed=0), folder / "RUN")
    write_files(folder, {f"v/{TENCH}/{number}.jpg": picture(number) for number in range(3)})
    found = object_of(folder, "evaluate RUN --on fish=v --prompts none --out m.json")
    assert found == {**json.loads((folder / "m.json").read_text()), "outputs": ["m.json"]}


def test_which_commands_have_it_and_what_a_mistake_prints(folder: Path) -> None:
    assert {name for name in COMMANDS if "--json" in command(name).flags} == set(HAVE_IT.split())
    done = run_cli("verify", "nowhere", "--json", folder=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("imagenet-captions: ")
