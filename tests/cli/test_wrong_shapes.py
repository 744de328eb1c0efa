"""JSON files of ours with another content, and manifests that list other files: one sentence from every command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from imagenet_captions.storage.files import METRICS
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows
from tests.evaluation.comparison.made_results import write_result

SHAPES = {
    "empty": "",
    "cut off": '{"format": ',
    "list": "[]",
    "no keys": "{}",
    "very deep": "[" * 10**6 + "]" * 10**6,
}
# What is spoiled, and the commands that read it; BAD is its folder, DATASET and RUN are whole.
COMMANDS = {
    "manifest.json": [
        "verify BAD",
        "filter BAD --class dog --out OUT",
        "filter BAD --class dog --out-ids OUT",
        "export BAD --to slim --out OUT",
        "stats BAD --csv OUT",
        "diff BAD DATASET --out OUT",
        "diff DATASET BAD --out OUT",
        "explain BAD n01440764_3",
        "publish BAD group/captions --with-images --dry-run",
    ],
    METRICS: ["compare BAD RUN --out OUT", "compare RUN BAD --out OUT", "frequency BAD --data DATASET --out OUT"],
    "settings.json": ["frequency BAD --out OUT"],
}
# A reader of JSON is one function, so that each shape is tried once, and each command with one of them.
CASES = [("manifest.json", "verify BAD", shape) for shape in SHAPES]
CASES += [(name, command, "list") for name in COMMANDS for command in COMMANDS[name] if command != "verify BAD"]


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, and a folder of a run that is a result too."""
    folder = tmp_path_factory.mktemp("made")
    make_dataset(folder, rows(2), images=True)
    write_result(folder / "run", {"own": np.arange(6) < 4})
    settings = {"data": str(folder / "dataset"), "seed": 0, "ids": None, "recipe": {"objective": "contrastive"}}
    (folder / "run" / "settings.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(name="spoiled")
def _spoiled(made: Path, tmp_path: Path) -> Path:
    """A copy of the dataset, to be spoiled."""
    return Path(shutil.copytree(made / "dataset", tmp_path / "spoiled"))


def refusal(made: Path, spoiled: Path, command: str) -> str:
    """The sentence of a command that reads a spoiled folder; it wrote nothing."""
    places = {"BAD": spoiled, "DATASET": made / "dataset", "RUN": made / "run", "OUT": spoiled.parent / "out"}
    code, told = invoke(*[str(places.get(word, word)) for word in command.split()])
    assert code == 2, told
    *before, last = told.splitlines()
    assert last.startswith("imagenet-captions: "), told
    assert not any("Traceback" in line for line in before), told
    assert not (spoiled.parent / "out").exists()
    return last


@pytest.mark.parametrize(("name", "command", "shape"), CASES)
def test_a_wrong_shape_is_one_sentence(made: Path, tmp_path: Path, name: str, command: str, shape: str) -> None:
    spoiled = tmp_path / "spoiled"
    shutil.copytree(made / ("dataset" if name == "manifest.json" else "run"), spoiled)
    (spoiled / name).write_text(SHAPES[shape])
    assert str(spoiled) in refusal(made, spoiled, command)


@pytest.mark.parametrize("name", ["/etc/passwd", "notes.md"])
def test_a_manifest_lists_files_of_a_dataset_alone(made: Path, spoiled: Path, name: str) -> None:
    content = json.loads((spoiled / "manifest.json").read_text())
    content["files"][name] = content["files"]["README.md"]
    (spoiled / "manifest.json").write_text(json.dumps(content))
    sentence = f"lists '{name}', which is not a file of a dataset"
    for command in ("verify BAD", "publish BAD group/captions --with-images --dry-run"):
        assert sentence in refusal(made, spoiled, command)
