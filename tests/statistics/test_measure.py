"""What is measured, against a plain count in Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import imagenet_captions as ic
from imagenet_captions.outcomes import Outcome
from imagenet_captions.statistics.collect import Distribution, measure
from tests.packager.made import IDS, PHOTO_IDS, image, images, train_folder


@pytest.fixture(name="rows")
def _rows(dataset: Path) -> pa.Table:
    (shard,) = (dataset / "data").iterdir()
    return pq.read_table(shard)


def test_counts_per_class_and_field(dataset: Path, rows: pa.Table) -> None:
    stats, every = ic.stats(dataset), rows.to_pylist()
    assert stats.rows == len(every) == 12
    assert [entry.label for entry in stats.classes] == list(range(1000))
    for entry in stats.classes:
        mine = [row for row in every if row["wnid"] == entry.wnid]
        assert entry.rows == len(mine)
        for field in ("title", "description", "tags", "caption", "names_class"):
            assert getattr(entry, field) == sum(1 for row in mine if row[field])
        assert entry.images == sum(1 for row in mine if row["image"])
        tags = [tag.lower() for row in mine for tag in row["tags"]]
        assert (entry.all_tags, entry.unique_tags) == (len(tags), len(set(tags)))
    tags = [tag.lower() for row in every for tag in row["tags"]]
    assert (stats.all_tags, stats.unique_tags) == (len(tags), len(set(tags)))
    assert (stats.images, stats.on_disk, stats.names_class) == (11, None, 4)
    assert stats.filled["title or tags"] == sum(1 for row in every if row["title"] or row["tags"])
    assert stats.filled["title or description"] == 12


def test_the_rest(dataset: Path, rows: pa.Table) -> None:
    stats, captions = ic.stats(dataset), rows["caption"].to_pylist()
    assert stats.characters.counts == Counter(map(len, captions))
    assert stats.words.counts == Counter(len(caption.split(" ")) for caption in captions)
    assert stats.duplicates == (1, 2, (("same", 2),))
    assert (stats.licenses, stats.languages, stats.sources) == ({4: 12}, {"en": 12}, {"flickr": 12})
    assert stats.funnel == {Outcome.KEPT: 12, Outcome.NO_TEXT: 1}
    by_field = {field: tuple(counts.values()) for field, counts in stats.markup.items()}
    assert by_field == {"title": (1, 0, 0), "description": (2, 1, 1), "tags": (1, 0, 0), "caption": (2, 1, 1)}


def test_batches_may_be_cut_anywhere(rows: pa.Table) -> None:
    whole = measure(rows.to_batches())
    assert whole == measure(batch for at in (10, 0, 5) for batch in rows.slice(at, 5).to_batches())
    assert whole != measure(rows.slice(0, 11).to_batches())


def test_without_images_and_without_rows(rows: pa.Table) -> None:
    stats = measure(rows.drop_columns(["image"]).to_batches())
    assert (stats.images, stats.on_disk) == (None, None)
    stats = measure([])
    assert (stats.rows, stats.unique_tags, stats.words.counts) == (0, 0, {})


@pytest.mark.parametrize("by_photo_id", [False, True])
def test_images_held_elsewhere(by_photo_id: bool, dataset: Path, tmp_path: Path) -> None:
    held = images(IDS[:5]) | {"n01440764_777": image("n01440764_777")}
    if by_photo_id:
        for image_id in held.keys() & PHOTO_IDS.keys():
            (tmp_path / f"{PHOTO_IDS[image_id]}.jpg").write_bytes(held[image_id])
    else:
        train_folder(tmp_path / "train", held)
    stats = ic.stats(dataset, tmp_path)
    assert (stats.images, stats.on_disk) == (5, 5 if by_photo_id else 6)
    first = stats.classes[0]
    assert (first.rows, first.images, first.on_disk) == (3, 3, 3 if by_photo_id else 4)


def test_an_image_among_those_of_another_class_does_not_count(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train" / "n01443537"
    folder.mkdir(parents=True)
    (folder / f"{IDS[0]}.JPEG").write_bytes(image(IDS[0]))
    assert ic.stats(dataset, tmp_path).images == 0


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60), st.floats(0, 1))
def test_a_distribution_is_that_of_numpy(numbers: list[int], at: float) -> None:
    found: Any = Distribution(Counter(numbers))
    assert found.quantile(at) == pytest.approx(np.percentile(numbers, 100 * at), abs=1e-6)
    for first, last, count in found.bins():
        assert count == sum(first <= number <= last for number in numbers)
    assert sum(count for _, _, count in found.bins()) == len(numbers)
