"""Images read out of a dataset's shards in place are those that pyarrow reads."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.images.own_images import byte_ranges_in_shards
from tests.exports.datasets import dataset, ids
from tests.packager.made import images, train_folder


def test_every_image_is_where_it_is_said_to_be(tmp_path: Path) -> None:
    held = images(ids(40))
    for number in (0, 7, 8, 39):
        del held[ids(40)[number]]
    made = dataset(tmp_path, ["x"] * 40, images=train_folder(tmp_path / "pictures", held))
    (shard,) = (made / "data").iterdir()
    ranges = byte_ranges_in_shards([shard])
    content = shard.read_bytes()
    assert {key: content[part.offset : part.offset + part.size] for key, part in ranges.items()} == held


@pytest.mark.parametrize("rows", [1, 17, 700])
@pytest.mark.parametrize("page", [1, 1000, 1 << 20])
@pytest.mark.parametrize("statistics", [False, True])
def test_pages_of_every_size(tmp_path: Path, rows: int, page: int, statistics: bool) -> None:
    data = [None if number % 5 == 3 else bytes([number % 251]) * (number * 37 % 900) for number in range(rows)]
    column = [None if image is None else {"bytes": image, "path": "x"} for image in data]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image_id": [str(number) for number in range(rows)], "image": pa.array(column, kind)})
    path = tmp_path / "shard.parquet"
    pq.write_table(
        table, path, compression="NONE", use_dictionary=False, write_statistics=statistics, data_page_size=page,
        write_batch_size=4, row_group_size=300,
    )  # fmt: skip
    content = path.read_bytes()
    found = {key: content[at : at + size] for key, (_, at, size) in byte_ranges_in_shards([path]).items()}
    assert found == {str(number): image for number, image in enumerate(data) if image is not None}


@pytest.mark.parametrize("stored", [{"compression": "ZSTD"}, {"use_dictionary": True}, {"data_page_version": "2.0"}])
def test_another_way_of_storing_is_refused(tmp_path: Path, stored: dict[str, object]) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image_id": ["1"], "image": pa.array([{"bytes": b"abc", "path": "x"}], kind)})
    path = tmp_path / "shard.parquet"
    pq.write_table(table, path, **{"compression": "NONE", "use_dictionary": False, **stored})
    with pytest.raises(InputError, match=r"not stored as this version stores them; package the dataset again$"):
        byte_ranges_in_shards([path])
