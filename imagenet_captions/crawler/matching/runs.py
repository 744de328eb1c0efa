"""Sort more candidates than fit into memory: sorted temporary files, merged a range of ids at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from imagenet_captions.storage.parquet_writing import SCRATCH_COMPRESSION

BATCH_ROWS = 1 << 11


class SortedRun:
    """Candidates sorted by key, in a file that vanishes with the process; they are read once, in order."""

    def __init__(self, batches: Iterator[pa.RecordBatch], schema: pa.Schema, folder: Path | None) -> None:
        self.firsts: list[int] = []  # the first key of each batch
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, prefix=".candidates-")  # noqa: SIM115
        options = pa.ipc.IpcWriteOptions(compression=SCRATCH_COMPRESSION)
        with pa.ipc.new_stream(pa.PythonFile(self._file, "w"), schema, options=options) as writer:
            for batch in batches:
                self.firsts.append(batch["key"][0].as_py())
                writer.write_batch(batch)
        self._file.seek(0)
        self._batches: Iterator[pa.RecordBatch] = iter(pa.ipc.open_stream(pa.PythonFile(self._file, "r")))
        self._rest: pa.RecordBatch | None = None

    def until(self, bound: int | None) -> Iterator[pa.RecordBatch]:
        """Yield the candidates before a key, or all that are left."""
        while (batch := self._next()) is not None:
            inside = len(batch) if bound is None else int(np.searchsorted(batch["key"].to_numpy(), bound))
            if inside:
                yield batch.slice(0, inside)
            if inside < len(batch):
                self._rest = batch.slice(inside)
                return

    def close(self) -> None:
        """Close the file, which deletes it."""
        self._file.close()

    def _next(self) -> pa.RecordBatch | None:
        rest, self._rest = self._rest, None
        return next(self._batches, None) if rest is None else rest


def merged(runs: Sequence[SortedRun], rows: int) -> Iterator[pa.Table]:
    """Yield the candidates of all runs, about `rows` at a time; those of an id come together, in the runs' order.

    >>> batches = [pa.record_batch({"key": pa.array(keys, pa.int64())}) for keys in ([1, 4, 9], [4, 5])]
    >>> runs = [SortedRun(iter([batch]), batch.schema, None) for batch in batches]
    >>> [part["key"].to_pylist() for part in merged(runs, 1)]
    [[1], [4, 9, 4, 5]]
    """
    firsts = sorted({first for run in runs for first in run.firsts})
    # A batch of each run may begin anywhere between two bounds, so that a part can be larger than `rows` by that much.
    bounds = firsts[:: max(1, rows // BATCH_ROWS)][1:]
    for bound in [*bounds, None]:
        if batches := [batch for run in runs for batch in run.until(bound)]:
            yield pa.Table.from_batches(batches)
    for run in runs:
        run.close()
