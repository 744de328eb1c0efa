"""Rows by their number: in ascending order, and in any order."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.storage.parquet import RowReader, gather


@pytest.mark.parametrize("group", [1, 3, 100])
def test_rows_by_number_over_several_files(tmp_path: Path, group: int) -> None:
    files = []
    for start, stop in ((0, 4), (4, 5), (5, 12)):
        files.append((start, tmp_path / f"{start}.parquet"))
        table = pa.table({"a": range(start, stop), "b": range(start, stop)})
        pq.write_table(table, files[-1][1], row_group_size=group)
    for rows in ([0], [1, 2, 4], [0, 3, 4, 5, 11], list(range(12))):
        with closing(RowReader(files)) as reader:
            assert reader.take(np.array(rows))["b"].to_pylist() == rows
    with closing(RowReader(files[2:], ["a"])) as reader:
        assert [reader.read(*part)["a"].to_pylist() for part in ((5, 6), (6, 9), (9, 12))] == [
            [5],
            [6, 7, 8],
            [9, 10, 11],
        ]
    with closing(RowReader(files, ["b"])) as reader:
        assert reader.read(2, 12).to_pydict() == {"b": list(range(2, 12))}
    for rows in ([11, 0, 4, 3], [7], list(reversed(range(12)))):
        assert gather(files, np.array(rows), ["b"]).to_pydict() == {"b": rows}
