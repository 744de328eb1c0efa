"""The command in every receipt makes the same files again."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest

from tests.command_line import invoke
from tests.exports.datasets import dataset, ids
from tests.packager.made import contents, images, train_folder

COUNT = 12
CAPTION = """title tags separator="; " template="it's a {}" seed=3"""
EXPORTS = [
    ["--to", "open-clip-csv", "--out", "new/my table.tsv", "--images", "pictures", "--path-prefix", ""],
    ["--to", "open-clip-csv", "--out", "t.tsv", "--path-prefix", "it's -here/", "--caption", CAPTION],
    ["--to", "webdataset", "--out", "new/w ds", "--images", "pictures", "--deny", "deny.txt", "--caption", CAPTION],
    ["--to", "webdataset", "--out", "wds", "--clip-benchmark", "test", "--workers", "2"],
    ["--to", "slim", "--out", "-s.csv", "--columns", "label,tags", "--shuffle", "3", "--deny", "{here}/deny.txt"],
    ["--to", "release-json", "--out", "r.json", "--deny", "deny.txt"],
]


@pytest.fixture(name="here")
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset whose own captions are none that its template makes, and folders of which each lacks some images."""
    held = images(ids(COUNT))
    own = train_folder(tmp_path / "own", {name: held[name] for name in ids(COUNT)[1:]})
    made = dataset(tmp_path, [f"caption {number}" for number in range(COUNT)], images=own)
    made.rename(tmp_path / "dataset of mine")
    train_folder(tmp_path / "pictures", {name: held[name] for name in ids(COUNT)[2:]})
    (tmp_path / "deny.txt").write_text(f"{ids(COUNT)[-1]}.JPEG\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made_by(arguments: list[str], out: str) -> tuple[dict[str, bytes], dict[str, object]]:
    code, said = invoke(*arguments)
    assert code == 0, said
    path = Path(out)
    receipt = Path(f"{out}.json")
    found = contents(path) if path.is_dir() else {path.name: path.read_bytes()}
    content = json.loads(receipt.read_text(encoding="utf-8"))
    receipt.unlink()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found, content


@pytest.mark.parametrize("flags", EXPORTS, ids=" ".join)
def test_the_command_in_a_receipt_makes_the_same_again(flags: list[str], here: Path) -> None:
    flags = [flag.format(here=here) if flag != CAPTION else flag for flag in flags]
    out = flags[flags.index("--out") + 1]
    first, receipt = made_by(["export", "dataset of mine", *flags], out)
    command = shlex.split(str(receipt["command"]))
    assert command[:3] == ["imagenet-captions", "export", "DATASET"]
    again, second = made_by(["export", "dataset of mine", *command[3:]], Path(out).name)
    assert again == first
    assert second == receipt
