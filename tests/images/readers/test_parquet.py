"""Images in Parquet: the column, the paths, and the bytes of the rows that are wanted."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.crawler.lists import read_ids
from imagenet_captions.errors import InputError
from imagenet_captions.images.index import ImageIndex
from imagenet_captions.images.readers.parquet import named_images, read_images, read_paths

ROWS = [
    {"bytes": b"0", "path": "n01440764_0.JPEG"},
    None,
    {"bytes": b"2", "path": None},
    {"bytes": None, "path": "n01440764_3.JPEG"},
    {"bytes": b"4", "path": "n01440764_4.JPEG"},
]
KIND = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize("group", [1, 2, 100])
def test_paths_and_wanted_images(tmp_path: Path, group: int) -> None:
    table = tmp_path / "x.parquet"
    pq.write_table(pa.table({"label": range(5), "picture": pa.array(ROWS, KIND)}), table, row_group_size=group)
    assert named_images(table) == "picture"
    paths = ["n01440764_0.JPEG", None, None, "n01440764_3.JPEG", "n01440764_4.JPEG"]
    assert [path for part in read_paths(table, "picture") for path in part.to_pylist()] == paths
    found = list(read_images(table, "picture", lambda path: path is not None and not path.startswith("n01440764_0")))
    assert found == list(zip(paths, [None, None, None, None, b"4"], strict=True))
    assert list(read_images(table, "picture", lambda _: True)) == list(
        zip(paths, [b"0", None, b"2", None, b"4"], strict=True)
    )


def test_a_column_of_images_may_have_any_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": pa.array(ROWS, KIND)}), tmp_path / "x.parquet")
    assert len(read_ids(tmp_path / "x.parquet").ids) == 3
    assert ImageIndex(tmp_path / "x.parquet").keys.to_pylist() == [f"n01440764_{number}" for number in (0, 3, 4)]


def test_images_without_paths_have_no_names(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [{"bytes": b"x"}]}), tmp_path / "x.parquet")
    assert named_images(tmp_path / "x.parquet") is None
    with pytest.raises(InputError, match="no column of images with their paths"):
        read_ids(tmp_path / "x.parquet")
