"""Parquet files wherever they lie; of those behind a URL only the bytes that a reader needs are requested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from imagenet_captions.storage.places import is_remote, reopen

_ROWS_AT_ONCE = 1 << 16


def parquet_file(path: str | Path) -> pq.ParquetFile:
    """The open file; behind a URL the columns of what is asked for are requested together."""
    found = reopen(path) if isinstance(path, str) else path
    if is_remote(found):
        return pq.ParquetFile(found.open("rb", buffering=0), pre_buffer=True)
    return pq.ParquetFile(found, pre_buffer=False)


def read_batches(
    opened: pq.ParquetFile, rows: int = _ROWS_AT_ONCE, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """All rows of a file, at most so many at a time, in memory that does not grow with the file.

    Asked for the whole file at once, Arrow may hold all that it has read of it until the end.
    """
    names = None if columns is None else list(columns)
    for groups in _together(opened.metadata, rows):
        yield from opened.iter_batches(rows, row_groups=groups, columns=names)


def _together(metadata: pq.FileMetaData, rows: int) -> Iterator[list[int]]:
    """Row groups that follow one another: one, or as many small ones as have that many rows."""
    groups: list[int] = []
    held = 0
    for number in range(metadata.num_row_groups):
        count = metadata.row_group(number).num_rows
        if groups and held + count > rows:
            yield groups
            groups, held = [], 0
        groups.append(number)
        held += count
    if groups:
        yield groups


def read_files(
    paths: Iterable[str | Path], rows: int = _ROWS_AT_ONCE, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """All rows of several files, one file after the other and no other one open."""
    for path in paths:
        with parquet_file(path) as opened:
            yield from read_batches(opened, rows, columns)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The whole file, or some of its columns."""
    source = path.open("rb", buffering=0) if is_remote(path) else path
    return pq.read_table(source, columns=None if columns is None else list(columns))


def read_schema(path: Path) -> pa.Schema:
    """The schema alone, with its metadata."""
    with parquet_file(path) as opened:
        return opened.schema_arrow


def read_metadata(path: Path) -> pq.FileMetaData:
    """The footer alone."""
    with parquet_file(path) as opened:
        return opened.metadata


def file_system(path: Path) -> pafs.FileSystem:
    """What Arrow's datasets read this place through; there a file is called by its `arrow_name`."""
    return pafs.PyFileSystem(_ByUrl(path.system)) if is_remote(path) else pafs.LocalFileSystem()


def arrow_name(path: Path) -> str:
    """The name of a file in its `file_system`."""
    return str(path) if is_remote(path) else str(path.absolute())


class _ByUrl(pafs.FSSpecHandler):  # type: ignore[misc]
    """Opens files by their URLs. Arrow's own handler would request 50 MB of an S3 object to read its footer."""

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(reopen(path).open("rb", buffering=0), mode="r")
