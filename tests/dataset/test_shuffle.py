"""Datasets in a seeded order: everything that reads a dataset gives what it gives for the sorted one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import imagenet_captions as ic
from imagenet_captions.dataset.diff import diff
from imagenet_captions.dataset.settings import FilterSettings, RowConditions
from imagenet_captions.packager.package import verify
from tests.dataset.made import make_dataset, read_ids, rows
from tests.packager.made import contents


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A sorted dataset, and its rows in the order of a seed."""
    folder = tmp_path_factory.mktemp("shuffle")
    sorted_ = make_dataset(folder, rows(20), images=True)
    ic.filter(sorted_, FilterSettings(shuffle=7, shards=4), out=folder / "shuffled")
    return sorted_, folder / "shuffled"


def table(dataset: Path, config: str = "default", condition: Any = None) -> dict[str, dict[str, Any]]:
    return {row["image_id"]: row for row in ic.load(dataset, condition, config).with_format("arrow")[:].to_pylist()}


def test_the_same_rows_in_another_order(both: tuple[Path, Path]) -> None:
    for config in ("default", "raw"):
        before, after = (table(each, config) for each in both)
        assert before == after
        assert list(before) != list(after)
    for each in both:
        assert list(table(each)) == list(table(each, "raw"))
        assert verify(each).rows == len(table(each))
    manifest = json.loads((both[1] / "manifest.json").read_text())
    assert manifest["settings"]["filter"] == [{"shuffle": 7, "shards": 4}]
    shards = sorted((both[1] / "data").iterdir())
    assert [len(pq.read_table(shard)["wnid"].unique()) for shard in shards] == [5] * 4
    assert "Rows are shuffled for training with the seed 7, over 4 shards" in (both[1] / "README.md").read_text()
    assert "Rows are sorted by `image_id`" in (both[0] / "README.md").read_text()


@pytest.mark.parametrize(
    "given",
    [
        {"wanted": RowConditions(classes=["dog"], has=["title"])},
        {"condition": ic.names_class() & ic.in_split("val", 0.5)},
        {"sample": 0.3, "deny": "denied"},
        {"balance": 10, "by": "class"},
        {"random_classes": 2, "seed": 5},
    ],
    ids=str,
)
def test_filters_keep_the_same_rows(both: tuple[Path, Path], tmp_path: Path, given: dict[str, Any]) -> None:
    (tmp_path / "denied").write_text("".join(f"{image_id}.JPEG\n" for image_id in sorted(table(both[0]))[3:60:7]))
    settings = FilterSettings(**{**given, **({"deny": tmp_path / "denied"} if "deny" in given else {})})
    lists = []
    for each in both:
        ic.filter(each, settings, out_ids=tmp_path / each.name)
        ic.filter(each, settings, out=tmp_path / f"{each.name}-rows")
        verify(tmp_path / f"{each.name}-rows")
        lists.append(read_ids(tmp_path / each.name))
    assert lists[0] == lists[1] == sorted(lists[0])
    before, after = (tmp_path / f"{each.name}-rows" for each in both)
    assert table(before) == table(after)
    assert pq.read_table(before / "outcomes.parquet") == pq.read_table(after / "outcomes.parquet")
    # The rows that are left keep the order of the dataset they come from.
    kept = set(lists[0])
    assert list(table(after)) == [image_id for image_id in table(both[1]) if image_id in kept]


def test_workers_and_seeds(both: tuple[Path, Path], tmp_path: Path) -> None:
    for name, seed, workers in (("two", 7, 2), ("other", 8, 1)):
        ic.filter(both[0], FilterSettings(shuffle=seed, shards=4), out=tmp_path / name, workers=workers)
    assert contents(tmp_path / "two") == contents(both[1])
    assert list(table(tmp_path / "other")) != list(table(both[1]))
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"shuffle": 8', '"shuffle": 6'))
    with pytest.raises(ic.InputError, match="not in the order of the seed 6"):
        verify(tmp_path / "other")


def test_diff_and_statistics(both: tuple[Path, Path], tmp_path: Path) -> None:
    for raw in (False, True):
        assert diff(*both, raw=raw).equal
    ic.filter(both[1], ic.has("title"), out=tmp_path / "part")
    assert diff(both[0], tmp_path / "part").total.lost > 0
    assert str(ic.stats(both[0])) == str(ic.stats(both[1]))


def test_shards(text_dataset: Path, tmp_path: Path) -> None:
    ic.filter(text_dataset, FilterSettings(shuffle=0), out=tmp_path / "16")
    assert len(list((tmp_path / "16" / "data").iterdir())) == len(list((tmp_path / "16" / "raw").iterdir())) == 16
    counts = [pq.read_metadata(shard).num_rows for shard in (tmp_path / "16" / "data").iterdir()]
    assert max(counts) - min(counts) <= 1
    ic.filter(text_dataset, FilterSettings(sample=3, shuffle=0), out=tmp_path / "few")
    assert verify(tmp_path / "few").rows == 3
    with pytest.raises(ic.InputError, match="`shards` is 4, but only 3 rows are left"):
        ic.filter(text_dataset, FilterSettings(sample=3, shuffle=0, shards=4), out=tmp_path / "no")
    with pytest.raises(ic.InputError, match="`shuffle` needs `out`"):
        ic.filter(text_dataset, FilterSettings(shuffle=1), out_ids=tmp_path / "ids")
