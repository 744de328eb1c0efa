"""JSON files of ours with another content, and manifests that list other files: one sentence from every command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def mutations(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of an object, and of the objects in it; of files with many alike, those of the first."""
    for key, each in list(value.items())[: 1 if path == ("files",) else None]:
        yield (*path, key)
        if isinstance(each, dict):
            yield from mutations(each, (*path, key))


def changed(content: dict[str, Any], path: tuple[str, ...], value: object) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(content))
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copied


def test_no_wrong_value_gives_a_traceback(made: Path, tmp_path: Path) -> None:
    """Where a value is only shown, the commands may take it."""
    for name, folder, command in (
        ("manifest.json", "dataset", "filter BAD --has title --workers 1 --out OUT"),
        (METRICS, "run", "compare BAD RUN"),
        (METRICS, "run", "frequency BAD --data DATASET"),
        ("settings.json", "run", "frequency BAD"),
    ):
        content = json.loads((made / folder / name).read_text())
        spoiled, out = tmp_path / "spoiled", tmp_path / "out"
        shutil.copytree(made / folder, spoiled)
        for path in mutations(content):
            for value in (None, ["a"], 0):
                (spoiled / name).write_text(json.dumps(changed(content, path, value)))
                places = {"BAD": spoiled, "DATASET": made / "dataset", "RUN": made / "run", "OUT": out}
                code, told = invoke(*[str(places.get(word, word)) for word in command.split()])
                assert code in (0, 2), (path, value, told)
                assert "Traceback" not in told, (path, value)
                shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(spoiled)


@pytest.mark.parametrize("name", ["/etc/passwd", "notes.md"])
def test_a_manifest_lists_files_of_a_dataset_alone(made: Path, spoiled: Path, name: str) -> None:
    content = json.loads((spoiled / "manifest.json").read_text())
    content["files"][name] = content["files"]["README.md"]
    (spoiled / "manifest.json").write_text(json.dumps(content))
    sentence = f"lists '{name}', which is not a file of a dataset"
    for command in ("verify BAD", "publish BAD group/captions --with-images --dry-run"):
        assert sentence in refusal(made, spoiled, command)
