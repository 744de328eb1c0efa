"""What is measured, against a plain count in Python."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.images.sources import ImageIndex
from imagenet_captions.outcomes import Outcome
from imagenet_captions.statistics.collect import Distribution, collect, measure
from tests.packager.made import IDS, PHOTO_IDS, by_class, image, images, tar_of, train_folder


@pytest.fixture
def rows(dataset: Path) -> list[dict[str, object]]:
    (shard,) = (dataset / "data").iterdir()
    found: list[dict[str, object]] = pq.read_table(shard).to_pylist()
    return found


def test_counts_per_class_and_field(dataset: Path, rows: list[dict[str, object]]) -> None:
    stats = collect(dataset)
    assert stats.rows == len(rows) == 12
    assert len(stats.classes) == 1000
    assert [entry.label for entry in stats.classes] == list(range(1000))
    for entry in stats.classes:
        mine = [row for row in rows if row["wnid"] == entry.wnid]
        assert entry.rows == len(mine)
        for field in ("title", "description", "tags", "caption", "names_class"):
            assert getattr(entry, field) == sum(1 for row in mine if row[field])
        assert entry.images == sum(1 for row in mine if row["image"])
        tags = [tag.lower() for row in mine for tag in row["tags"]]  # type: ignore[attr-defined]
        assert (entry.all_tags, entry.unique_tags) == (len(tags), len(set(tags)))
    assert stats.filled["title or tags"] == sum(1 for row in rows if row["title"] or row["tags"])
    assert stats.filled["title or description"] == 12
    assert stats.unique_tags == len({tag.lower() for row in rows for tag in row["tags"]})  # type: ignore[attr-defined]


def test_the_rest(dataset: Path, rows: list[dict[str, object]]) -> None:
    stats = collect(dataset)
    captions = [str(row["caption"]) for row in rows]
    assert stats.characters.counts == Counter(map(len, captions))
    assert stats.words.counts == Counter(len(caption.split(" ")) for caption in captions)
    assert (stats.duplicates.texts, stats.duplicates.rows) == (1, 2)
    assert stats.duplicates.most == (("same", 2),)
    assert stats.licenses == {4: 12}
    assert stats.languages == {"en": 12}
    assert stats.sources == {"flickr": 12}
    assert stats.funnel == {Outcome.KEPT: 12, Outcome.NO_TEXT: 1}
    by_field = {field.field: (field.html, field.entities, field.addresses) for field in stats.markup}
    assert by_field == {"title": (1, 0, 0), "description": (2, 1, 1), "tags": (1, 0, 0), "caption": (2, 1, 1)}


def test_tables_may_be_cut_anywhere(dataset: Path) -> None:
    (shard,) = (dataset / "data").iterdir()
    whole = pq.read_table(shard)
    assert measure([whole]) == measure(whole.slice(at, 5) for at in (10, 0, 5)) != measure([whole.slice(0, 11)])


def test_a_dataset_without_images(dataset: Path) -> None:
    (shard,) = (dataset / "data").iterdir()
    stats = measure([pq.read_table(shard).drop_columns(["image"])])
    assert (stats.images, stats.on_disk) == (None, None)


def test_no_rows() -> None:
    stats = measure([])
    assert (stats.rows, stats.unique_tags, stats.words.total, stats.per_class.largest) == (0, 0, 0, 0)


@pytest.mark.parametrize("form", ["folder", "tar", "parquet", "photo ids"])
def test_images_held_elsewhere(form: str, dataset: Path, tmp_path: Path) -> None:
    held = images(IDS[:5]) | {"n01440764_777": image("n01440764_777")}
    at = {
        "folder": lambda: train_folder(tmp_path / "train", held),
        "tar": lambda: _tar(tmp_path / "train.tar", held),
        "parquet": lambda: _parquet(tmp_path / "train.parquet", held),
        "photo ids": lambda: _by_photo(tmp_path / "photos", held),
    }[form]()
    stats = collect(dataset, ImageIndex(at))
    named = form != "photo ids"
    assert (stats.images, stats.on_disk) == (5, 6 if named else 5)
    first = stats.classes[0]
    assert (first.rows, first.images, first.on_disk) == (3, 3, 4 if named else 3)


def test_an_image_among_those_of_another_class_does_not_count(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "train" / "n01443537"
    folder.mkdir(parents=True)
    (folder / f"{IDS[0]}.JPEG").write_bytes(image(IDS[0]))
    assert collect(dataset, ImageIndex(tmp_path)).images == 0


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no manifest"):
        collect(tmp_path)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=60), st.floats(0, 1))
def test_quantiles_are_those_of_numpy(numbers: list[int], at: float) -> None:
    found = Distribution(Counter(numbers))
    assert found.quantile(at) == pytest.approx(np.percentile(numbers, 100 * at), abs=1e-6)
    assert found.mean == pytest.approx(np.mean(numbers))
    assert sum(each.count for each in found.bins()) == len(numbers)


def _tar(path: Path, held: dict[str, bytes]) -> Path:
    path.write_bytes(tar_of({f"{wnid}.tar": tar_of(files) for wnid, files in by_class(held).items()}))
    return path


def _parquet(path: Path, held: dict[str, bytes]) -> Path:
    cells = [{"bytes": data, "path": f"{image_id}_{image_id[:9]}.JPEG"} for image_id, data in held.items()]
    pq.write_table(pa.table({"image": cells}), path)
    return path


def _by_photo(path: Path, held: dict[str, bytes]) -> Path:
    path.mkdir()
    for image_id, data in held.items():
        if image_id in PHOTO_IDS:
            (path / f"{PHOTO_IDS[image_id]}.jpg").write_bytes(data)
    return path
