"""Opening a dataset: what comes back, what is read, what is refused, and what importing the package costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem

import imagenet_captions as ic
from imagenet_captions.dataset import loading
from imagenet_captions.errors import InputError
from tests.command_line import run_cli
from tests.dataset.made import WNIDS, make_dataset, rows


def reference(dataset: Path, cache: Path) -> Any:
    import datasets

    files = sorted(map(str, (dataset / "data").iterdir()))
    return datasets.Dataset.from_parquet(files, cache_dir=str(cache))


def test_everything_as_load_dataset_gives_it(image_dataset: Path, tmp_path: Path) -> None:
    expected = reference(image_dataset, tmp_path)
    loaded = ic.load(image_dataset)
    assert loaded.features == expected.features
    assert loaded.split == "train"
    for one, other in zip(loaded, expected, strict=True):
        one_image, other_image = one.pop("image"), other.pop("image")
        assert one == other
        assert (one_image is None) == (other_image is None)
        assert one_image is None or one_image.tobytes() == other_image.tobytes()
    assert sum(row["image"] is None for row in loaded) == 10


def test_streaming_gives_the_same_rows(image_dataset: Path) -> None:
    condition = ic.in_class("dog") & ~ic.contains("title", "beach")
    streamed = ic.load(image_dataset, condition, streaming=True)
    loaded = ic.load(image_dataset, condition)
    assert streamed.features == loaded.features
    plain = list(streamed.remove_columns("image"))
    assert plain == loaded.remove_columns("image").to_list()
    assert next(iter(streamed.filter(lambda row: row["image"] is not None)))["image"].size[1] == 20


def test_what_is_too_large_for_memory_goes_through_the_cache(
    image_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    condition = ic.in_class("dog") & ic.has("title")
    small = ic.load(image_dataset, condition)
    assert not small.cache_files
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(loading, "LARGEST_IN_MEMORY", 1000)
    large = ic.load(image_dataset, condition)
    assert large.cache_files
    assert large.features == small.features
    assert large.remove_columns("image").to_list() == small.remove_columns("image").to_list()
    assert ic.load(image_dataset, ic.in_class("teddy bear")).cache_files == [], "no row group can have any of it"


def test_columns_and_the_raw_config(text_dataset: Path) -> None:
    some = ic.load(text_dataset, ic.in_class("tench"), columns=["label", "tags"])
    assert some.column_names == ["label", "tags"]
    assert some.features["label"].names[:1] == ["n01440764"]
    raw = ic.load(text_dataset, ic.contains("title", "dog"), config="raw")
    assert raw[0]["title"].startswith("<")
    assert "caption" not in raw.column_names


def test_a_loaded_dataset_can_be_worked_with(text_dataset: Path, tmp_path: Path) -> None:
    loaded = ic.load(text_dataset, ic.in_class("dog"))
    mapped = loaded.map(lambda row: {"length": len(row["title"])}, cache_file_name=str(tmp_path / "mapped.arrow"))
    assert list(mapped["length"]) == [len(row["title"]) for row in rows() if row["wnid"] in WNIDS[1:3]]
    assert ic.load(text_dataset, ic.in_class("dog"))._fingerprint == loaded._fingerprint
    assert ic.load(text_dataset, ic.in_class("goldfish"))._fingerprint != loaded._fingerprint


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"config": "cooked"}, "`config` must be default or raw, not 'cooked'"),
        ({"columns": ["label", "subtitle"]}, "no column 'subtitle'; it has image_id"),
        ({"columns": "title"}, r"`columns` must be a list of names, such as \['title'\], not 'title'"),
        ({"condition": ic.has("image")}, "does not fit .*whose columns are image_id.*image"),
        ({"condition": ic.has("image"), "streaming": True}, "does not fit"),
        ({"condition": ic.contains("caption", "x"), "config": "raw"}, "does not fit .*caption"),
    ],
)
def test_what_the_dataset_does_not_have(text_dataset: Path, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ic.InputError, match=sentence):
        ic.load(text_dataset, **arguments)


def test_what_is_no_dataset(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere", "user/dataset"):
        with pytest.raises(ic.InputError, match=r"made by `imagenet-captions package`|does not exist"):
            ic.load(path)
    dataset = make_dataset(tmp_path, rows(1))
    next((dataset / "data").iterdir()).write_bytes(b"PAR1 and no more")
    with pytest.raises(ic.InputError, match="damaged"):
        ic.load(dataset)
    next((dataset / "data").iterdir()).unlink()
    with pytest.raises(ic.InputError, match="damaged"):
        ic.load(dataset)


class Counted:
    """An open file that counts the bytes that are read from it."""

    read_bytes = 0
    closed = False

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("rb")  # noqa: SIM115

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        Counted.read_bytes += len(data)
        return data

    def seek(self, *where: int) -> int:
        return self._file.seek(*where)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    readable = seekable

    def __del__(self) -> None:
        self._file.close()

    def close(self) -> None:
        self.closed = True
        self._file.close()


class CountingHandler(pafs.FSSpecHandler):
    """Files of this machine, opened to be counted."""

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(Counted(path), mode="r")


def test_one_class_reads_its_own_row_groups_and_a_text_reads_no_image(
    image_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shard,) = (image_dataset / "data").iterdir()
    counting = pafs.PyFileSystem(CountingHandler(LocalFileSystem()))
    monkeypatch.setattr(loading, "file_system", lambda shard: counting)
    chunks = [column_chunks(pq.read_metadata(shard), number) for number in range(len(WNIDS))]
    footer = shard.stat().st_size - sum(size for group in chunks for size in group.values())
    own = sum(chunks[0].values())
    Counted.read_bytes = 0
    assert len(ic.load(image_dataset, ic.in_class("tench"))) == 20
    assert own <= Counted.read_bytes <= own + 2 * footer
    Counted.read_bytes = 0
    assert len(ic.load(image_dataset, ic.has("title"), columns=["image_id"])) == 87
    assert Counted.read_bytes <= 2 * footer + sum(group["image_id"] + group["title"] for group in chunks)


def column_chunks(metadata: pq.FileMetaData, group: int) -> dict[str, int]:
    """The bytes of each column in a row group."""
    columns = map(metadata.row_group(group).column, range(metadata.num_columns))
    return {column.path_in_schema: column.total_compressed_size for column in columns}


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_the_package_imports_next_to_nothing() -> None:
    script = (
        "import sys; before = set(sys.modules); import imagenet_captions; print(*sorted(set(sys.modules) - before))"
    )
    found = {name.split(".")[0] for name in python(script).split()}
    assert found - set(sys.stdlib_module_names) == {"imagenet_captions"}
    heavy = {"asyncio", "multiprocessing", "http", "json", "email", "dataclasses", "inspect", "logging"}
    assert not found & heavy


def test_every_public_name_is_there_and_nothing_else() -> None:
    for name in ic.__all__:
        assert getattr(ic, name).__name__ == name
        assert name in dir(ic)
    with pytest.raises(AttributeError, match="has no attribute 'lode'"):
        _ = ic.lode


def test_conditions_need_no_datasets() -> None:
    script = (
        "import sys, imagenet_captions as ic; ic.in_class('dog') & ic.in_split('val'); print('datasets' in sys.modules)"
    )
    assert python(script).strip() == "False"


def test_loading_asks_nobody(text_dataset: Path) -> None:
    script = f"""
import socket
def refuse(*args, **kwargs):
    raise SystemExit("the network was asked")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import imagenet_captions as ic
import imagenet_captions.dataset.loading
print(len(ic.load({str(text_dataset)!r}, ic.in_class("tench"))))
print(sum(1 for _ in ic.load({str(text_dataset)!r}, ic.in_class("tench"), streaming=True)))
"""
    assert python(script).split() == ["40", "40"]


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_shard_that_did_not_arrive_whole_is_one_sentence(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the first one, whose schema every reader looks at anyway."""
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 300)
    monkeypatch.setattr("imagenet_captions.packager.package.TEXT_ROWS", 1)
    dataset = make_dataset(tmp_path, rows(20))
    last = sorted((dataset / "data").iterdir())[-1]
    whole = last.read_bytes()
    last.unlink()
    if damage == "cut":
        last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=f"is damaged: data/{last.name} is not there whole"):
        ic.load(dataset)
    for command in (
        ["filter", dataset, "--class", "dog", "--out", tmp_path / "child"],
        ["export", dataset, "--to", "slim", "--out", tmp_path / "slim.csv"],
        ["stats", dataset],
    ):
        done = run_cli(*command)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"data/{last.name} is not there whole; copy or package it again" in done.stderr
