"""Paths that stand for many files, and that every command takes them alike."""

from __future__ import annotations

import re
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import digest
from imagenet_captions.storage.places import each_file, expand_pattern, place
from tests.command_line import invoke
from tests.packager.made import IDS, images, tar_of, train_folder, write_captions


@pytest.fixture(name="shards")
def _shards(tmp_path: Path) -> Path:
    """Every image in WebDataset shards, and in Parquet, three files each."""
    folder = tmp_path / "wds"
    folder.mkdir()
    held = images()
    for number in range(3):
        part = {name: held[name] for name in IDS[4 * number : 4 * number + 4]}
        members = {f"{name}.jpg": data for name, data in part.items()}
        (folder / f"{number:05}.tar").write_bytes(tar_of({**members, **{f"{name}.txt": b"a" for name in part}}))
        rows = [{"image": {"bytes": data, "path": f"{name}.JPEG"}, "label": number} for name, data in part.items()]
        pq.write_table(pa.Table.from_pylist(rows), folder / f"part-{number}.parquet")
    return folder


@pytest.mark.parametrize("kind", ["local", "url"])
def test_braces_and_wildcards(shards: Path, tmp_path: Path, kind: str) -> None:
    if kind == "url":
        fsspec.filesystem("memory").put(str(shards), f"/{tmp_path.name}", recursive=True)
        shards = place(f"memory://{tmp_path.name}")
    tars = [shards / f"0000{number}.tar" for number in range(3)]
    assert expand_pattern(shards / "{00000..00002}.tar") == tars
    assert expand_pattern(shards / "*.tar") == tars
    assert expand_pattern(shards / "0000[02].tar") == tars[::2]
    assert expand_pattern(shards) is None
    (tmp_path / "odd{1,2}[x]").mkdir()
    assert expand_pattern(tmp_path / "odd{1,2}[x]") is None
    assert list(each_file([shards, shards / "0000{0,1}.tar"])) == [shards, *tars[:2]]
    digests = [digest(shards / f"{{00000..0000{last}}}.tar") for last in (2, 1, 2)]
    assert digests[0] == digests[2] != digests[1]
    if kind == "local":
        (shards / "00002.tar").write_bytes(b"other")
        assert digest(shards / "{00000..00002}.tar") not in digests
    for pattern, said in {
        "{0..3}.tar": r"names .*/0\.tar, which does not exist",
        "none/{0..3}.tar": r"names .*/none/0\.tar, which does not exist",
        "x*.tar": "matches no file",
    }.items():
        with pytest.raises(InputError, match=said):
            expand_pattern(shards / pattern)


COMMANDS = [
    "package --captions {captions} --images IMAGES --out {out} --workers 1",
    "stats {dataset} --images IMAGES --csv {out}",
    "export {dataset} --to webdataset --images IMAGES --out {out} --workers 1",
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.split()[0])
def test_every_command_takes_patterns_of_images(command: str, shards: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions.parquet")
    train_folder(tmp_path / "train")
    dataset = tmp_path / "dataset"
    made = ["package", "--captions", str(captions), "--out", str(dataset), "--workers", "1"]
    assert invoke(*made)[0] == 0
    names = {"captions": captions, "dataset": dataset}
    results = []
    for number, given in enumerate((tmp_path / "train", shards / "{00000..00002}.tar", shards / "part-*.parquet")):
        out = tmp_path / str(number)
        arguments = [part.format(**names, out=out).replace("IMAGES", str(given)) for part in command.split()]
        code, said = invoke(*arguments)
        assert code == 0, said
        files = [out] if out.is_file() else sorted(path for path in out.rglob("*") if path.is_file())
        results.append([path.read_bytes() for path in files])
    assert results[0] == results[1] == results[2]


def test_an_output_that_a_pattern_names_is_refused(shards: Path, tmp_path: Path) -> None:
    captions = write_captions(tmp_path / "captions.parquet")
    before = (shards / "00001.tar").read_bytes()
    for out, said in {
        shards / "00001.tar": "is the input .*00001.tar itself",
        tmp_path: "lies inside the output|is a folder|holds something else",
    }.items():
        code, told = invoke(
            *("package", "--captions", str(captions), "--images", str(shards / "{00000..00002}.tar"), "--out", str(out))
        )
        assert code == 2
        assert re.search(said, told), told
    assert (shards / "00001.tar").read_bytes() == before
