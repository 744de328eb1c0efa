"""What is not a file or folder, given as an input: one sentence that names it, from every command, before any work."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import require_file, require_there, walk
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows

LONG = "x" * 300


@pytest.fixture(name="there", scope="module")
def _there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd things, and the inputs that the commands need besides."""
    folder = tmp_path_factory.mktemp("odd")
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    make_dataset(folder, rows(4), images=True)
    assert invoke("match", "--urls", str(SAMPLE / "urls.txt"), "--out", str(folder / "matches.parquet"))[0] == 0
    (folder / "yfcc100m_dataset").write_text("")
    return folder


ODD = {
    "{there}/loop": "is a link to nothing|too many levels of symbolic links",
    "{there}/pipe": "is a pipe, device or socket",
    "{there}/dataset/manifest.json/x": "not a directory|does not exist|is neither a class list nor a file",
    "{there}/" + LONG: "file name too long|does not exist|' has the name 'xxx",
}
INPUTS = [
    "match --urls ODD --out OUT",
    "match --urls {urls} --ids ODD --out OUT",
    "match --urls {urls} --deny ODD --out OUT",
    "extract-yfcc ODD --matches {matches} --out OUT",
    "crawl --matches ODD --store OUT",
    "crawl --matches {matches} --store OUT --key-file ODD",
    "clean --matches {matches} --store ODD --out OUT",
    "clean --matches {matches} --yfcc ODD --out OUT",
    "package --captions ODD --out OUT",
    "package --captions {captions} --images ODD --out OUT",
    "build --release ODD --out OUT",
    "build --urls {urls} --ids ODD --no-crawl --yfcc {yfcc} --out OUT",
    "filter ODD --class dog --out OUT",
    "filter {ds} --class-list ODD --out OUT",
    "filter {ds} --ids ODD --out OUT",
    "filter {ds} --like ODD --out OUT",
    "export {ds} --to open-clip-csv --images ODD --out OUT",
    "stats {ds} --images ODD --csv OUT",
    "diff {ds} ODD --out OUT",
    "label-by-text ODD --out OUT.csv",
    "robustness ODD --out OUT",
    "train ODD --objective supervised --out OUT",
    "train {ds} --objective supervised --ids ODD --out OUT",
    "train {ds} --objective simclr --preset micro --batch-size 8 --init ODD --out OUT",
    "evaluate ODD --on imagenet={ds} --out OUT",
    "ablate size ODD --on {ds} --out OUT",
]


@pytest.mark.parametrize("command", INPUTS)
def test_what_is_no_file_is_one_sentence(
    command: str, there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLICKR_API_KEY", "a-test-key")
    if command.startswith(("train", "evaluate", "ablate")):
        pytest.importorskip("torch")
    names = {
        "urls": SAMPLE / "urls.txt",
        "release": SAMPLE / "release.json",
        "matches": there / "matches.parquet",
        "captions": there / "captions.parquet",
        "yfcc": there / "yfcc100m_dataset",
        "ds": there / "dataset",
    }
    # A pipe that is opened hangs, so each command meets it; the others are one rule.
    for odd in ODD if command == INPUTS[0] else ["{there}/pipe"]:
        path = odd.format(there=there)
        words = [
            part.format(**names).replace("ODD", path).replace("OUT", f"{tmp_path}/out") for part in command.split()
        ]
        signal.alarm(60)
        try:
            code, said = invoke(*words)
        finally:
            signal.alarm(0)
        assert code == 2, said
        last = said.splitlines()[-1]
        assert last.startswith("imagenet-captions: "), said
        assert path[:70] in last, said
        assert re.search(ODD[odd], last), said
        assert [path.name for path in tmp_path.iterdir()] in ([], ["out.work"])


def test_what_is_there_is_required(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    assert require_there(tmp_path, "the input") == tmp_path
    assert require_file(tmp_path / "link", "the input") == tmp_path / "link"
    for path, said in {
        tmp_path / "gone": "the input .*gone does not exist; check the path",
        tmp_path / "LOC_train_solution.csv": "check the path, or get it from https://www.kaggle.com/c/imagenet-obj",
        Path("/dev/null"): "the input /dev/null is a pipe, device or socket; write it to a file",
        tmp_path: "is a folder; give the file itself",
    }.items():
        with pytest.raises(InputError, match=said):
            require_file(path, "the input")


def test_links_in_a_folder_that_lead_nowhere_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "nothing.JPEG").symlink_to("gone")
    (tmp_path / "image.JPEG").write_bytes(b"x")
    assert [name for _, name in walk(tmp_path)] == ["image.JPEG"]
    (tmp_path / "round").symlink_to(tmp_path)
    with pytest.raises(InputError, match="Too many levels of symbolic links; check it and its links"):
        list(walk(tmp_path))
