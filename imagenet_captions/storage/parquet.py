"""Read Parquet files, here or behind a URL, from where only the bytes that are needed are requested.

Arrow's errors about damaged files become one sentence that names the file, for every reader of the package.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.storage.file_names import MANIFEST
from imagenet_captions.storage.places import Place, is_remote, reopen

if TYPE_CHECKING:
    from datasets import Dataset

_ROWS_AT_ONCE = 1 << 16
_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)


class ParquetFile(pq.ParquetFile):  # type: ignore[misc]
    """An open file whose reading methods raise an InputError that names it if it is damaged."""

    def __init__(self, path: Place) -> None:
        self._path = path
        with reading(path):
            if is_remote(path):
                super().__init__(path.open("rb", buffering=0), pre_buffer=True)
            else:
                super().__init__(path, pre_buffer=False)

    @property
    def schema_arrow(self) -> pa.Schema:
        with reading(self._path):
            return check_schema(super().schema_arrow)

    def read(self, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        return self._checked(lambda: super(ParquetFile, self).read(columns, **options), columns)

    def read_row_group(self, i: int, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        return self._checked(lambda: super(ParquetFile, self).read_row_group(i, columns, **options), columns)

    def iter_batches(
        self,
        batch_size: int = _ROWS_AT_ONCE,
        row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        **options: Any,
    ) -> Iterator[pa.RecordBatch]:
        with reading(self._path):
            batches = super().iter_batches(batch_size, row_groups, columns, **options)
        while (batch := self._checked(lambda: next(batches, None), columns)) is not None:
            yield batch

    def _checked(self, read: Callable[[], _Rows], columns: Sequence[str] | None) -> _Rows:
        with reading(self._path):
            rows = read()
            if rows is not None:
                check_rows(rows, columns)
        return rows


def check_rows(rows: pa.Table | pa.RecordBatch, columns: Sequence[str] | None = None) -> None:
    """Raise ArrowInvalid for rows that only a damaged file can give: text that is not UTF-8, or a missing column."""
    rows.validate(full=True)
    if columns is not None and not {name.split(".")[0] for name in columns} <= set(rows.schema.names):
        raise pa.ArrowInvalid("a column is gone")


def check_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema; raise ArrowInvalid if the notes of `datasets` in it cannot be read."""
    noted = (schema.metadata or {}).get(b"huggingface")
    try:
        readable = noted is None or isinstance(json.loads(noted), dict)
    except ValueError:
        readable = False
    if not readable:
        raise pa.ArrowInvalid("the metadata of datasets is not JSON")
    return schema


@contextmanager
def reading(*paths: Place) -> Iterator[None]:
    """Turn Arrow's errors about damaged files into an InputError that names the first of them.

    An error of the operating system gets the file's name, which Arrow leaves out. If none of the files is damaged, the
    error passes through.
    """
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise OSError(error.errno, os.strerror(error.errno), error.filename or str(paths[0])) from None
        if (path := paths[0] if len(paths) == 1 else _first_damaged(paths)) is None:
            raise
        raise damaged(path) from None


def _first_damaged(paths: Sequence[Place]) -> Place | None:
    for path in paths:
        try:
            for _ in read_files([path]):
                pass
        except InputError:
            return path
    return None


def damaged(path: Place) -> InputError:
    """Build the error for a Parquet file that is damaged."""
    dataset = path.parent if path.name == OUTCOMES_FILE else path.parent.parent
    if not path.exists():
        return InputError(f"{path} does not exist; if its dataset was replaced meanwhile, run the same command again")
    if (dataset / MANIFEST).is_file():
        return InputError(
            f"the shard {path} is damaged; `imagenet-captions verify {dataset}` says what else is, "
            "copy or package the dataset again"
        )
    return InputError(
        f"{path} is not a Parquet file, is cut off or damaged, or holds text that is not UTF-8; get it or make it again"
    )


def parquet_file(path: str | Place) -> ParquetFile:
    """Open a file; behind a URL the wanted columns are requested together."""
    return ParquetFile(reopen(path) if isinstance(path, str) else path)


def read_batches(
    opened: ParquetFile, rows: int = _ROWS_AT_ONCE, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield all rows of a file, in batches of at most `rows`, in memory that does not grow with the file.

    If it is asked for the whole file at once, Arrow may hold all that it has read until the end.
    """
    names = None if columns is None else list(columns)
    for groups in _together(opened.metadata, rows):
        yield from opened.iter_batches(rows, row_groups=groups, columns=names)


def _together(metadata: pq.FileMetaData, rows: int) -> Iterator[list[int]]:
    """Yield runs of row groups: one large group, or several small ones with about `rows` rows together."""
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
    paths: Iterable[str | Place], rows: int = _ROWS_AT_ONCE, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield all rows of several files, with one file open at a time."""
    for path in paths:
        with parquet_file(path) as opened:
            yield from read_batches(opened, rows, columns)


def read_table(path: Place, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the whole file, or some of its columns."""
    with parquet_file(path) as opened:
        return opened.read(None if columns is None else list(columns))


def through_cache(paths: Sequence[Place], columns: Sequence[str], **filters: Any) -> Dataset:
    """Return rows through the disk cache of `datasets`."""
    import datasets

    with reading(*paths):
        try:
            return datasets.Dataset.from_parquet(list(map(str, paths)), columns=list(columns), **filters)
        except datasets.exceptions.DatasetGenerationError as error:  # its cause says what went wrong
            raise error.__cause__ or error from None


def read_schema(path: Place) -> pa.Schema:
    """Return the schema alone, with its metadata."""
    with parquet_file(path) as opened:
        return opened.schema_arrow


def read_metadata(path: Place) -> pq.FileMetaData:
    """Return the footer alone."""
    with parquet_file(path) as opened:
        return opened.metadata


def file_system(path: Place) -> pafs.FileSystem:
    """Return the file system through which Arrow's datasets read a place; there a file has its `arrow_name`."""
    return pafs.PyFileSystem(_ByUrl(path.system)) if is_remote(path) else pafs.LocalFileSystem()


def arrow_name(path: Place) -> str:
    """Return the name of a file in its `file_system`."""
    return str(path) if is_remote(path) else str(path.absolute())


class _ByUrl(pafs.FSSpecHandler):  # type: ignore[misc]
    """Opens files by their URLs. Arrow's own handler would request 50 MB of an S3 object to read its footer."""

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(reopen(path).open("rb", buffering=0), mode="r")
