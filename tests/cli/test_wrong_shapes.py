"""JSON files of ours with another content, and manifests that list other files: one sentence from every command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import METRICS
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows
from tests.evaluation.comparison.made_results import write_result

SHAPES = {
    "empty": "",
    "cut off": '{"format": ',
    "null": "null",
    "list": "[]",
    "text": '"text"',
    "number": "3",
    "NaN": '{"test_sets": NaN}',
    "no keys": "{}",
    "deep": '{"format": "imagenet-captions dataset", "version": 1, "files": ' + "[" * 500 + "]" * 500 + "}",
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
CASES = [(name, command) for name, commands in COMMANDS.items() for command in commands]


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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "command"), CASES)
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
            for value in (None, ["a"], "text", 0):
                (spoiled / name).write_text(json.dumps(changed(content, path, value)))
                places = {"BAD": spoiled, "DATASET": made / "dataset", "RUN": made / "run", "OUT": out}
                code, told = invoke(*[str(places.get(word, word)) for word in command.split()])
                assert code in (0, 2), (path, value, told)
                assert "Traceback" not in told, (path, value)
                shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(spoiled)


@pytest.mark.parametrize("change", [{"settings": {"filter": [{"shuffle": None}]}}, {"measured": {"survival": None}}])
@pytest.mark.parametrize("command", ["verify BAD", "filter BAD --class dog --out OUT"])
def test_a_null_in_a_manifest_is_one_sentence(made: Path, spoiled: Path, change: dict[str, Any], command: str) -> None:
    content = json.loads((spoiled / "manifest.json").read_text())
    (spoiled / "manifest.json").write_text(json.dumps(content | change))
    assert "has not the expected content" in refusal(made, spoiled, command)


@pytest.mark.parametrize("command", ["stats BAD --csv OUT", "publish BAD group/captions --with-images --dry-run"])
def test_a_pipe_as_a_manifest_is_refused(made: Path, spoiled: Path, command: str) -> None:
    (spoiled / "manifest.json").unlink()
    os.mkfifo(spoiled / "manifest.json")
    assert "has no manifest.json" in refusal(made, spoiled, command)


SHARD = "data/train-00000-of-00001.parquet"


def linked(dataset: Path) -> None:
    secret = dataset.parent / "secret"
    shutil.move(dataset / SHARD, secret)
    (dataset / SHARD).symlink_to(secret)


def linked_folder(dataset: Path) -> None:
    shutil.move(dataset / "data", dataset.parent / "elsewhere")
    (dataset / "data").symlink_to(dataset.parent / "elsewhere")


def listing(name: str) -> Callable[[Path], None]:
    def change(dataset: Path) -> None:
        record = dataset / "manifest.json"
        content = json.loads(record.read_text())
        content["files"][name] = content["files"][SHARD]
        record.write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (listing("/etc/passwd"), "lists '/etc/passwd', which is not a file of a dataset"),
        (listing("../secret"), "lists '../secret', which is not a file of a dataset"),
        (listing("notes.md"), "lists 'notes.md', which is not a file of a dataset"),
        (listing(""), "which is not a file of a dataset"),
        (linked, f"{SHARD} is a link that leads out of the dataset; put the file itself there"),
        (linked_folder, f"{SHARD} is a link that leads out of the dataset"),
    ],
)
@pytest.mark.parametrize("command", COMMANDS["manifest.json"])
def test_a_manifest_lists_files_of_its_folder_alone(
    made: Path, spoiled: Path, harm: Callable[[Path], None], sentence: str, command: str
) -> None:
    harm(spoiled)
    assert sentence in refusal(made, spoiled, command)


def test_the_links_of_the_hubs_cache_are_followed(made: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123"
    blobs.mkdir()
    for number, path in enumerate(sorted(path for path in (made / "dataset").rglob("*") if path.is_file())):
        copied = snapshot / path.relative_to(made / "dataset")
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blobs / str(number))
        copied.symlink_to(blobs / str(number))
    assert Shards(snapshot).manifest == Shards(made / "dataset").manifest
    (blobs / "0").rename(tmp_path / "secret")
    (blobs / "0").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of the dataset"):
        Shards(snapshot)
