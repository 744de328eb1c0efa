"""Parquet files wherever they lie; of those behind a URL only the bytes that a reader needs are requested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from imagenet_captions.storage.places import is_remote, place


def parquet_file(path: str | Path) -> pq.ParquetFile:
    """The open file; its columns are requested together, a stretch of the file at a time."""
    found = place(path)
    if is_remote(found):
        return pq.ParquetFile(found.open("rb", buffering=0), pre_buffer=True)
    return pq.ParquetFile(found)


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
        return pa.PythonFile(place(path).open("rb", buffering=0), mode="r")
