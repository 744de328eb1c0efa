"""Sort more rows than fit into memory, for matching and cleaning: temporary files by class, each sorted by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.storage.parquet import SCRATCH_COMPRESSION

# A bucket is sorted in memory: 8 MB at four times the published size, so about 32 MB at sixteen times. Some systems
# allow a process to have no more than 256 files open at once.
BUCKETS = 128
ROWS_AT_ONCE = 16_000  # rows copied from a bucket at a time, so that memory does not hold the bucket twice
HELD_ROWS = 32_000  # rows collected before they are written, so that a bucket gets many rows at a time


class Spool:
    """Temporary files that take rows in any order and return them sorted by `keys`, equal ones in the order of adding.

    `bucket_of` returns the bucket of each row, 0 to BUCKETS - 1; buckets must be in the order of the keys. The files
    go to `folder`, which the caller makes and removes.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        keys: Sequence[str],
        bucket_of: Callable[[pa.Table], npt.NDArray[np.int64]],
    ) -> None:
        self._folder, self._schema = folder, schema
        self._keys, self._bucket_of = keys, bucket_of
        self._open = ExitStack()
        self._writers: list[pa.ipc.RecordBatchStreamWriter] = []
        self._held: list[pa.Table] = []
        self._held_rows = 0
        self.rows = 0  # added so far

    def __enter__(self) -> Spool:
        options = pa.ipc.IpcWriteOptions(compression=SCRATCH_COMPRESSION)
        for bucket in range(BUCKETS):
            sink = self._open.enter_context(pa.OSFile(str(self._path(bucket)), "wb"))
            self._writers.append(self._open.enter_context(pa.ipc.new_stream(sink, self._schema, options=options)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, rows: pa.Table) -> None:
        """Add rows."""
        self._held.append(rows)
        self._held_rows += len(rows)
        self.rows += len(rows)
        if self._held_rows >= HELD_ROWS:
            self._write_held()

    def _write_held(self) -> None:
        if not self._held_rows:
            return
        table = pa.concat_tables(self._held)
        self._held, self._held_rows = [], 0
        buckets = self._bucket_of(table)
        order = np.argsort(buckets, kind="stable")
        by_bucket = table.take(pa.array(order)).combine_chunks()
        starts = np.searchsorted(buckets[order], np.arange(BUCKETS + 1))
        for writer, start, end in zip(self._writers, starts, starts[1:], strict=False):
            if start < end:
                writer.write_table(by_bucket.slice(int(start), int(end - start)))

    def sorted_tables(self, together: str) -> Iterator[pa.Table]:
        """Yield the rows by `keys`, some at a time; rows with one value of the column `together` come together."""
        self._write_held()
        self._open.close()
        for bucket in range(BUCKETS):
            yield from self._sorted(bucket, together)

    def _sorted(self, bucket: int, together: str) -> Iterator[pa.Table]:
        with pa.OSFile(str(self._path(bucket)), "rb") as file, pa.ipc.open_stream(file) as reader:
            table = reader.read_all().combine_chunks()
        # Arrow's sort is stable.
        order = pc.sort_indices(table, [(key, "ascending") for key in self._keys])
        for start, stop in _stretches(table[together].take(order).combine_chunks()):
            yield table.take(order.slice(start, stop - start))

    def _path(self, bucket: int) -> Path:
        return self._folder / f"{bucket:03d}.arrow"


def _stretches(ids: pa.Array) -> Iterator[tuple[int, int]]:
    """Cut a sorted column into parts of about `ROWS_AT_ONCE` rows, never between equal values."""
    begins = np.append(np.flatnonzero(first_of_each(ids)), len(ids))
    cuts = begins[np.searchsorted(begins, np.arange(0, len(ids), ROWS_AT_ONCE))]
    yield from pairwise(np.unique(np.append(cuts, len(ids))).tolist())


def first_of_each(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Return a mask of the values in a sorted column that differ from the one before."""
    first = np.ones(len(ids), bool)
    if len(ids) > 1:
        first[1:] = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    return first
