"""Batches of a Parquet file: no larger than asked for, and not as small as its row groups."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.storage.parquet import (
    ParquetFile,
    gather,
    read_batches,
    read_files,
    read_metadata,
    read_schema,
    read_table,
    reading,
    take_each,
)


@pytest.mark.parametrize(
    ("row_group", "rows", "sizes"),
    [
        (3, 10, [9, 9, 2]),  # a batch for each tiny row group would take a hundred times as long
        (20, 8, [8, 8, 4]),
        (5, 3, [3, 2, 3, 2, 3, 2, 3, 2]),
    ],
)
def test_batches_have_as_many_rows_as_fit(row_group: int, rows: int, sizes: list[int], tmp_path: Path) -> None:
    table = pa.table({"number": range(20), "text": [str(n) for n in range(20)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=row_group)
    with ParquetFile(tmp_path / "t.parquet") as opened:
        batches = list(read_batches(opened, rows))
    assert [len(batch) for batch in batches] == sizes
    assert pa.Table.from_batches(batches).equals(table)
    again = list(read_files([tmp_path / "t.parquet"] * 2, rows, ["text"]))
    assert pa.Table.from_batches(again).to_pylist() == 2 * table.select(["text"]).to_pylist()
    pq.write_table(table[:0], tmp_path / "t.parquet")
    assert sum(map(len, read_files([tmp_path / "t.parquet"]))) == 0


def _read(path: Path) -> list[object]:
    with ParquetFile(path) as opened:
        return [opened.read(["text"]), opened.read_row_group(0, ["text"]), *opened.iter_batches(columns=["text"])]


@pytest.mark.parametrize("read", [_read, lambda path: list(read_files([path], columns=["text"])), read_table])
def test_text_that_is_not_utf8_is_damage(read: Callable[[Path], object], tmp_path: Path) -> None:
    """Flipped bits may leave pages that unpack; Arrow itself would hand on whatever bytes they hold."""
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"text": pa.array([b"a", b"\xff\xfe"], pa.binary()).view(pa.string())}), path)
    with pytest.raises(InputError, match=f"{path} is not a Parquet file, is cut off or damaged"):
        read(path)
    pq.write_table(pa.table({"tekt": ["a"]}), path)
    with pytest.raises(InputError, match="is cut off or damaged"):
        _read(path)


@pytest.mark.parametrize("content", [b"", b"PAR1" + b"x" * 100 + b"PAR1", b"text\n" * 9])
def test_what_is_not_parquet(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    for read in (ParquetFile, read_schema, read_metadata, read_table):
        with pytest.raises(InputError, match=f"{path} is not a Parquet file"):
            read(path)
    with pytest.raises(InputError, match=r"t\.parquet does not exist"):
        read_table(tmp_path / "gone" / "t.parquet")


def test_what_the_operating_system_says_has_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(PermissionError) as caught, reading(path):
        raise PermissionError(13, f"Failed to open local file '{path}'")
    assert caught.value.filename == str(path)
    with pytest.raises(InputError, match=f"one of the files in {tmp_path} is not a Parquet file"), reading(path, path):
        raise pa.ArrowInvalid("bad page")


@pytest.mark.parametrize("group", [1, 3, 100])
def test_rows_by_number_over_several_files(tmp_path: Path, group: int) -> None:
    files = []
    for start, stop in ((0, 4), (4, 5), (5, 12)):
        files.append((start, tmp_path / f"{start}.parquet"))
        table = pa.table({"a": range(start, stop), "b": range(start, stop)})
        pq.write_table(table, files[-1][1], row_group_size=group)
    for parts in ([[0]], [[1, 2, 4]], [[0, 3], [4, 5, 11]], [list(range(12))], [[5], [6, 7, 8], [9, 11]]):
        found = take_each(files, map(np.array, parts), ["b"])
        assert [table.to_pydict() for table in found] == [{"b": rows} for rows in parts]
    for rows in ([11, 0, 4, 3], [7], list(reversed(range(12)))):
        assert gather(files, np.array(rows), ["b"]).to_pydict() == {"b": rows}
