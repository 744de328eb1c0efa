"""Streams with the row groups of all shards mixed: the same rows, in an order that a seed decides."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import imagenet_captions as ic
from imagenet_captions.dataset import streaming
from imagenet_captions.dataset.filtering.filter import filter_to_dataset
from imagenet_captions.dataset.filtering.settings import FilterSettings
from imagenet_captions.dataset.loading import open_parquet
from imagenet_captions.dataset.streaming import RowStream, mixtures
from tests.dataset.made import WNIDS


def ids(dataset: Path, *arguments: object, **options: object) -> list[str]:
    return [row["image_id"] for row in ic.load(dataset, *arguments, streaming=True, **options)]  # type: ignore[call-overload]


def test_every_row_once_in_the_order_of_the_seed(image_dataset: Path) -> None:
    plain = ids(image_dataset)
    mixed = [ids(image_dataset, shuffle=seed) for seed in (0, 0, 1)]
    assert all(sorted(found) == plain for found in mixed)
    assert mixed[0] == mixed[1] != mixed[2]
    # Each class has row groups of its own, and all of them give rows from the start.
    assert len({image_id[:9] for image_id in mixed[0][:20]}) == len(WNIDS)
    rows = {row["image_id"]: row for row in ic.load(image_dataset, streaming=True, shuffle=3)}
    assert list(rows.values()) != [rows[image_id] for image_id in plain]
    assert [rows[image_id] for image_id in plain] == list(ic.load(image_dataset, streaming=True))


def test_conditions_columns_and_the_raw_config(image_dataset: Path) -> None:
    condition = ic.in_class("dog") & ic.has("title")
    assert sorted(ids(image_dataset, condition, shuffle=0)) == ids(image_dataset, condition)
    assert ids(image_dataset, ic.contains("title", "nothing has this"), shuffle=0) == []
    assert ids(image_dataset, ic.in_class("teddy"), shuffle=0) == []
    shown = next(iter(ic.load(image_dataset, columns=["image_id", "wnid"], streaming=True, shuffle=0)))
    assert list(shown) == ["image_id", "wnid"]
    assert sorted(ids(image_dataset, config="raw", shuffle=0)) == ids(image_dataset)


def test_row_groups_without_wanted_rows_are_not_read(image_dataset: Path) -> None:
    shards = open_parquet(image_dataset, "default").files
    found = {}
    for name, condition in (("all", None), ("dogs", ic.in_class("dog"))):
        found[name] = mixtures(shards, RowStream(image_dataset, None, condition, ("image_id", "image")), seed=0)
    assert [len(groups) for groups in found["all"]] == [5]
    assert [len(groups) for groups in found["dogs"]] == [2]


def test_workers_share_the_row_groups(image_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "MIXED_GROUPS", 1)
    for dataset in (image_dataset, tmp_path / "shuffled"):
        if dataset != image_dataset:
            filter_to_dataset(image_dataset, dataset, FilterSettings(shuffle=0, shards=4), workers=1)
        stream = ic.load(dataset, streaming=True, shuffle=0)
        assert stream.n_shards >= 4
        parts = [[row["image_id"] for row in stream.shard(num_shards=3, index=at)] for at in range(3)]
        assert all(parts)
        assert sorted(chain.from_iterable(parts)) == sorted(ids(dataset))


@pytest.mark.parametrize("seed", [True, False, -1, 1.5, "1"])
def test_what_is_no_seed_is_refused_everywhere(text_dataset: Path, seed: Any) -> None:
    for use in (
        lambda: ic.load(text_dataset, streaming=True, shuffle=seed),
        lambda: FilterSettings(shuffle=seed),
        lambda: ic.ExportSettings("slim", shuffle=seed),
    ):
        with pytest.raises(ic.InputError, match=f"`shuffle` must be a seed, a whole number from 0 up, not {seed!r}"):
            use()


def test_a_dataset_that_is_not_streamed_has_its_own_shuffle(text_dataset: Path) -> None:
    with pytest.raises(ic.InputError, match="`shuffle` goes with `streaming=True`"):
        ic.load(text_dataset, shuffle=0)  # type: ignore[call-overload]
