"""Streams of a dataset."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import imagenet_captions as ic
from imagenet_captions.dataset.filtering import filter_to_dataset
from imagenet_captions.dataset.settings import FilterSettings


def test_workers_share_the_shards(image_dataset: Path, tmp_path: Path) -> None:
    filter_to_dataset(image_dataset, tmp_path / "shuffled", FilterSettings(shuffle=0, shards=4), workers=1)
    stream = ic.load(tmp_path / "shuffled", streaming=True)
    assert stream.n_shards == 4
    parts = [[row["image_id"] for row in stream.shard(num_shards=3, index=at)] for at in range(3)]
    assert all(parts)
    whole = [row["image_id"] for row in stream]
    assert sorted(chain.from_iterable(parts)) == sorted(whole)
    mixed = [row["image_id"] for row in stream.shuffle(seed=0, buffer_size=100)]
    assert mixed != whole
    assert sorted(mixed) == sorted(whole)
