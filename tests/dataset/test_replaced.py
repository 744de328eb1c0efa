"""Readers of a dataset that is replaced meanwhile: they give the one or the other, or one sentence; never a mixture."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.diff import diff
from imagenet_captions.dataset.settings import FilterSettings
from imagenet_captions.dataset.shards import Replaced, Shards
from imagenet_captions.exports.export import export
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.statistics.collect import stats
from imagenet_captions.storage.outputs import producing_folder
from imagenet_captions.storage.places import Place
from tests.packager.made import contents, write_captions

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
