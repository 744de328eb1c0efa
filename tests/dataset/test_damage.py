"""Shards with flipped bits, and datasets that are replaced while they are read: one sentence, and never a mixture."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.diff import diff
from imagenet_captions.dataset.settings import FilterSettings
from imagenet_captions.dataset.shards import Replaced, Shards
from imagenet_captions.errors import InputError
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.statistics.collect import stats
from imagenet_captions.storage.outputs import producing_folder
from imagenet_captions.storage.places import Place
from tests.command_line import invoke
from tests.dataset.made import make_dataset, rows
from tests.packager.made import change_manifest, contents, sign, write_captions


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with images, and its captions file beside it."""
    return make_dataset(tmp_path_factory.mktemp("whole"), rows(10), images=True)


def flip(shard: Path, column: str) -> Path:
    """Turn around bytes within a column's first pages, or with "footer" within the columns' names in the footer."""
    data = bytearray(shard.read_bytes())
    start, size = len(data) - 8 - int.from_bytes(data[-8:-4], "little"), 60
    if column != "footer":
        group = pq.read_metadata(shard).row_group(0)
        chunks = [group.column(at) for at in range(group.num_columns)]
        chunk = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] == column][-1]
        start = chunk.dictionary_page_offset or chunk.data_page_offset
        size = chunk.total_compressed_size
    for at in range(start + size // 3, start + size // 3 + max(4, min(64, size // 2))):
        data[at] ^= 0xFF
    shard.write_bytes(data)
    return shard


COMMANDS = [
    ("data", "image_id", "filter DS --class tench --out OUT/f --workers 1"),
    ("data", "footer", "filter DS --class tench --out OUT/f --workers 1"),
    ("raw", "title", "filter DS --sample 0.9 --out OUT/f --workers 1"),
    ("raw", "title", "export DS --to release-json --out OUT/x.json"),
    ("data", "image_id", "export DS --to webdataset --out OUT/wds"),
    ("data", "title", "stats DS"),
    ("data", "image", "stats WHOLE --images DS/data"),
    ("raw", "title", "diff WHOLE DS --raw"),
    ("data", "title", "label-by-text DS --out OUT/x.parquet"),
    ("data", "image", "package --captions CAPTIONS --images DS/data --out OUT/p"),
    ("data", "image", "match --urls URLS --ids DS --out OUT/m.parquet"),
]


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "ds")


@pytest.mark.parametrize(("config", "column", "command"), COMMANDS)
def test_a_damaged_shard_is_named(
    config: str, column: str, command: str, whole: Path, copy: Path, tmp_path: Path
) -> None:
    shard = flip(next((copy / config).iterdir()), column)
    (tmp_path / "urls.txt").write_text("n01440764_3\thttp://farm1.static.flickr.com/1/1000000000_aa.jpg\n")
    names = {"DS": copy, "OUT": tmp_path / "out", "WHOLE": whole, "URLS": tmp_path / "urls.txt"}
    for name, path in {**names, "CAPTIONS": whole.parent / "captions.parquet"}.items():
        command = command.replace(name, str(path))
    code, said = invoke(*command.split())
    assert code == 2, said
    sentence = f"the shard {shard} is damaged; `imagenet-captions verify {copy}` says what else is"
    assert said.splitlines()[-1].startswith(f"imagenet-captions: {sentence}"), said
    assert not [path for path in (tmp_path / "out").glob("*") if path.is_file()]
    assert invoke("verify", str(copy))[0] == 2


LOADING: list[tuple[str, str, bool, Callable[[Path], object]]] = [
    ("data", "title", True, lambda ds: ic.load(ds, ic.contains("title", "dog"), columns=["image_id"])),
    ("data", "caption", False, lambda ds: list(ic.load(ds, streaming=True))),
    ("raw", "footer", False, lambda ds: ic.load(ds, config="raw")),
]


@pytest.mark.parametrize(("config", "column", "large", "load"), LOADING)
def test_loading_names_a_damaged_shard(
    config: str,
    column: str,
    large: bool,
    load: Callable[[Path], object],
    copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if large:
        monkeypatch.setattr("imagenet_captions.dataset.loading.LARGEST_IN_MEMORY", 1)
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    shard = flip(next((copy / config).iterdir()), column)
    named = f"(the shard {shard}|a shard of {copy})"
    with pytest.raises(InputError, match=f"{named} is damaged; `imagenet-captions verify"):
        load(copy)


def test_a_manifest_with_other_rows_than_the_shards_is_refused(copy: Path, tmp_path: Path) -> None:
    for config in ("data", "raw"):
        name = f"{config}/train-00000-of-00001.parquet"
        change_manifest(copy, lambda manifest: manifest["files"][name].update(rows=53))  # noqa: B023
    with pytest.raises(InputError, match="has 50 rows, and its manifest says 53; package it again"):
        ic.filter(copy, ic.FilterSettings(sample=0.5), out=tmp_path / "out")


@pytest.mark.parametrize(("column", "command"), [("caption", "stats"), ("image_id", "verify")])
def test_nulls_are_one_sentence(copy: Path, column: str, command: str) -> None:
    """Of a dataset whose manifest fits: its makers need not be we."""
    shard = next((copy / "data").glob("*.parquet"))
    table = pq.read_table(shard)
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, pa.nulls(len(table), pa.string())), shard)
    sign(copy, f"data/{shard.name}")
    code, told = invoke(command, copy)
    assert (code, "null" in told, len(told.splitlines())) == (2, True, 1), told
    with pytest.raises(InputError, match="is damaged"):
        ic.verify(copy)


READERS: dict[str, Callable[[Path, Path], object]] = {
    "load": lambda dataset, out: list(ic.load(dataset)),
    "stream": lambda dataset, out: list(ic.load(dataset, streaming=True)),
    "stats": lambda dataset, out: stats(dataset),
    "filter": lambda dataset, out: ic.filter(dataset, FilterSettings(), out=out),
    "slim": lambda dataset, out: export(dataset, out, ExportSettings("slim")),
    "diff": lambda dataset, out: diff(dataset, dataset, out=out.with_suffix(".tsv")),
}


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two datasets of the same shards with other texts."""
    monkeypatch.setattr("imagenet_captions.dataset.writing.SMALL_SHARD", 300)
    monkeypatch.setattr("imagenet_captions.packager.package.TEXT_ROWS", 1)
    for title in ("old", "new"):
        captions = write_captions(tmp_path / f"{title}.parquet", title=title)
        package(captions, tmp_path / title, PackageSettings())
    shutil.copytree(tmp_path / "old", tmp_path / "ours")
    assert len(list((tmp_path / "ours" / "data").iterdir())) > 1
    return {name: tmp_path / name for name in ("old", "new", "ours")}


def replace_with(new: Path, out: Path) -> None:
    with producing_folder(out) as folder:
        shutil.copytree(new, folder, dirs_exist_ok=True)


@pytest.mark.parametrize("reader", READERS)
def test_a_dataset_replaced_between_two_shards(
    both: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    """What is read in the end is one dataset, or nothing is written and the sentence says why."""
    real, replaced = Shards.files, False

    def replacing_first(self: Shards, config: str = "data") -> list[Place]:
        nonlocal replaced
        found = real(self, config)
        if not replaced:  # the manifest was read, the shards not yet
            replaced = True
            replace_with(both["new"], both["ours"])
        return found

    monkeypatch.setattr(Shards, "files", replacing_first)
    before = contents(tmp_path / "old")
    try:
        found = READERS[reader](both["ours"], tmp_path / "out" / "made")
    except Replaced:
        assert not list((tmp_path / "out").glob("[!.]*"))
    else:
        if reader in ("load", "stream"):
            assert len({row["title"] for row in found}) == 1  # type: ignore[attr-defined]
    assert contents(tmp_path / "old") == before


def test_rows_of_two_datasets_are_never_given_together(both: dict[str, Path]) -> None:
    rows: Iterator[dict[str, Any]] = iter(ic.load(both["ours"], streaming=True))
    assert next(rows)["title"] == "old"
    replace_with(both["new"], both["ours"])
    titles: list[str] = []
    with pytest.raises(Replaced, match="was replaced while it was read; run the same command again"):
        titles.extend(row["title"] for row in rows)
    assert set(titles) <= {"old"}
