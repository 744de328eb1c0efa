"""Batches of a Parquet file: no larger than asked for, and not as small as its row groups."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.storage.parquet import parquet_file, read_batches, read_files


@pytest.mark.parametrize(
    ("row_group", "rows", "sizes"),
    [
        (3, 10, [9, 9, 2]),  # a batch for each tiny row group would take a hundred times as long
        (7, 10, [7, 7, 6]),
        (20, 8, [8, 8, 4]),
        (5, 3, [3, 2, 3, 2, 3, 2, 3, 2]),
    ],
)
def test_batches_have_as_many_rows_as_fit(row_group: int, rows: int, sizes: list[int], tmp_path: Path) -> None:
    table = pa.table({"number": range(20), "text": [str(n) for n in range(20)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=row_group)
    with parquet_file(tmp_path / "t.parquet") as opened:
        batches = list(read_batches(opened, rows))
    assert [len(batch) for batch in batches] == sizes
    assert pa.Table.from_batches(batches).equals(table)
    again = list(read_files([tmp_path / "t.parquet"] * 2, rows, ["text"]))
    assert pa.Table.from_batches(again).to_pylist() == 2 * table.select(["text"]).to_pylist()


def test_a_file_without_rows_has_no_batches(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "t.parquet")
    assert sum(map(len, read_files([tmp_path / "t.parquet"]))) == 0
