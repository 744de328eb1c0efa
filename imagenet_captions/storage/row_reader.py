"""Read rows of Parquet files by their number, in ascending order or in any order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.storage.parquet import ParquetFile, parquet_file
from imagenet_captions.storage.places import Place


class RowReader:
    """A reader of rows by their number, in ascending order; each row group is read at most once.

    `files` are Parquet files with the numbers of their first rows. One is open at a time, because the footers of all
    would take more memory than the rows.
    """

    def __init__(self, files: Iterable[tuple[int, Place]], columns: Sequence[str] | None = None) -> None:
        self._files = iter(files)
        self._columns = None if columns is None else list(columns)
        self._file: ParquetFile | None = None
        self._starts = [0, 0]  # first rows of the row groups of the open file, and the end of the last group
        self._held: tuple[int, pa.Table] | None = None

    def read(self, start: int, stop: int) -> pa.Table:
        """Return rows `start` to `stop`, at least one."""
        parts = []
        while start < stop:
            group, first, end = self._group_of(start)
            parts.append(group.slice(start - first, min(stop, end) - start))
            start = end
        return pa.concat_tables(parts)

    def take(self, rows: npt.NDArray[np.int64]) -> pa.Table:
        """Return these rows, at least one."""
        parts, at = [], 0
        while at < len(rows):
            group, first, end = self._group_of(int(rows[at]))
            stop = int(np.searchsorted(rows, end))
            parts.append(group.take(pa.array(rows[at:stop] - first)))
            at = stop
        return pa.concat_tables(parts)

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()

    def _group_of(self, row: int) -> tuple[pa.Table, int, int]:
        """Return the row group that has a row, and the numbers of its first row and of the next group's."""
        while row >= self._starts[-1]:
            self.close()
            first, path = next(self._files)
            self._file, self._held = parquet_file(path), None
            metadata = self._file.metadata
            counts = (metadata.row_group(at).num_rows for at in range(metadata.num_row_groups))
            self._starts = list(accumulate(counts, initial=first))
        number = bisect_right(self._starts, row) - 1
        if self._held is None or self._held[0] != number:
            assert self._file is not None
            self._held = None  # so that two row groups are not held at once
            table = self._file.read_row_group(number, columns=self._columns)
            self._held = (number, table if self._columns is None else table.select(self._columns))
        return self._held[1], self._starts[number], self._starts[number + 1]


def gather(files: Iterable[tuple[int, Place]], rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
    """Return some columns of these rows, at least one, in the order of `rows`; each row group is read once."""
    order = np.argsort(rows, kind="stable")
    with closing(RowReader(files, columns)) as reader:
        found = reader.take(rows[order]).combine_chunks()
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    return found.take(pa.array(places))
