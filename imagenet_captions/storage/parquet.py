"""Read and write Parquet files, here or behind a URL; the one place that sets how this package writes them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.storage.files import MANIFEST
from imagenet_captions.storage.places import Place, is_remote, reopen

if TYPE_CHECKING:
    from datasets import Dataset

COMPRESSION = "zstd"
COMPRESSION_LEVEL: int | None = None  # None: Arrow's default, 1 for zstd

# Rows in a row group.
MATCHES_ROWS = 65_536
# 10,000 rows, whose footers every reader holds, made memory grow with the data: 205 MB, and 278 at 16 times the size.
CAPTIONS_ROWS = 32_000
# Texts of a single class are so short that a thousand groups of them take longer to look through than to read: rows
# with a word in published-size data took 1.1 s with a class a group and 0.22 s with 16; one class, 58 ms and 12.
TEXT_ROWS = 7_000

# Bytes in a row group with images: what a writer holds at once, and what a reader of one class fetches at most before
# it has a row.
GROUP_BYTES = 32_000_000

# Bytes in a shard of a dataset.
SHARD_BYTES = 500_000_000
# A small dataset has a few more shards than its size asks for: writers and readers share work by the shard.
FEW_SHARDS, SMALL_SHARD = 8, 64_000_000

# A dataset in a seeded order has at least so many: a loader's workers read different shards at the same time.
SHUFFLED_SHARDS = 16

# Bytes that are requested of a store together at most, and a hole of unwanted ones between them. At most four times the
# wanted bytes are requested, so that images between captions stay where they are.
_TOGETHER, _HOLE, _TIMES_WANTED = 32 << 20, 2 << 20, 4
_ROWS_AT_ONCE = 1 << 16
_Rows = TypeVar("_Rows", pa.Table, pa.RecordBatch)


class ParquetFile(pq.ParquetFile):  # type: ignore[misc]
    """An open file whose reading methods raise an InputError that names it if it is damaged."""

    def __init__(self, path: str | Place) -> None:
        self._path = path = reopen(path) if isinstance(path, str) else path
        with reading(path):
            self._requests = path.open("rb", buffering=0) if is_remote(path) else None
            super().__init__(self._requests or path, pre_buffer=is_remote(path))

    def request_together(self, groups: Iterable[int], columns: Sequence[str] | None = None) -> None:
        """Request the bytes of these row groups, which are read next and in order, in few parts if they are remote."""
        if self._requests is not None:
            self._requests.parts = neighbors(self.metadata, groups, columns)  # type: ignore[attr-defined]

    @property
    def schema_arrow(self) -> pa.Schema:
        with reading(self._path):
            return check_schema(super().schema_arrow)

    def read(self, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        with reading(self._path):
            return check_rows(super().read(columns, **options), columns)

    def read_row_group(self, i: int, columns: Sequence[str] | None = None, **options: Any) -> pa.Table:
        with reading(self._path):
            return check_rows(super().read_row_group(i, columns, **options), columns)

    def iter_batches(
        self,
        batch_size: int = _ROWS_AT_ONCE,
        row_groups: Sequence[int] | None = None,
        columns: Sequence[str] | None = None,
        **options: Any,
    ) -> Iterator[pa.RecordBatch]:
        with reading(self._path):
            for batch in super().iter_batches(batch_size, row_groups, columns, **options):
                yield check_rows(batch, columns)


def neighbors(
    metadata: pq.FileMetaData, groups: Iterable[int], columns: Sequence[str] | None = None
) -> list[tuple[int, int]]:
    """Return the byte ranges that hold these columns of several of these row groups, with small holes between them."""
    parts: list[tuple[int, int]] = []
    sizes: list[int] = []
    wanted = 0  # bytes of the last part
    for group in map(metadata.row_group, groups):
        chunks = [group.column(at) for at in range(group.num_columns)]
        if columns is not None:
            names = tuple(f"{name}." for name in columns)
            chunks = [chunk for chunk in chunks if f"{chunk.path_in_schema}.".startswith(names)]
        if not chunks:
            continue
        starts = [chunk.dictionary_page_offset or chunk.data_page_offset for chunk in chunks]
        stops = [start + chunk.total_compressed_size for start, chunk in zip(starts, chunks, strict=True)]
        start, stop = min(starts), max(stops)
        here = sum(chunk.total_compressed_size for chunk in chunks)
        most = min(_TOGETHER, _TIMES_WANTED * (wanted + here))
        if parts and start - parts[-1][1] <= _HOLE and stop - parts[-1][0] <= most:
            wanted += here
            parts[-1] = (parts[-1][0], stop)
            sizes[-1] += 1
        else:
            wanted = here
            parts.append((start, stop))
            sizes.append(1)
    return [part for part, size in zip(parts, sizes, strict=True) if size > 1]


def check_rows(rows: _Rows, columns: Sequence[str] | None = None) -> _Rows:
    """Return rows; raise ArrowInvalid for text that is not UTF-8 or a missing column, which damaged files give."""
    rows.validate(full=True)
    if columns is not None and not {name.split(".")[0] for name in columns} <= set(rows.schema.names):
        raise pa.ArrowInvalid("a column is gone")
    return rows


def check_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema; raise ArrowInvalid if the notes of `datasets` in it cannot be read."""
    try:
        if isinstance(json.loads((schema.metadata or {}).get(b"huggingface", b"{}")), dict):
            return schema
    except (ValueError, RecursionError):
        pass
    raise pa.ArrowInvalid("the metadata of datasets is not JSON")


@contextmanager
def reading(*paths: Place) -> Iterator[None]:
    """Turn Arrow's errors about damaged files into an InputError that names the file, or the dataset of several."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise OSError(error.errno, os.strerror(error.errno), error.filename or str(paths[0])) from None
        raise damaged(*paths) from None


def damaged(path: Place, *others: Place) -> InputError:
    """Build the error for a Parquet file that is damaged, or one of several."""
    dataset = path.parent if path.name == OUTCOMES_FILE else path.parent.parent
    if not path.exists():
        return InputError(f"{path} does not exist; if its dataset was replaced meanwhile, run the same command again")
    if (dataset / MANIFEST).is_file():
        what = f"a shard of {dataset}" if others else f"the shard {path}"
        return InputError(
            f"{what} is damaged; `imagenet-captions verify {dataset}` says what else is, copy or package it again"
        )
    what = f"one of the files in {path.parent}" if others else str(path)
    return InputError(
        f"{what} is not a Parquet file, is cut off or damaged, or holds text that is not UTF-8; get it or make it again"
    )


def read_batches(
    opened: ParquetFile, rows: int = _ROWS_AT_ONCE, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield all rows of a file, in batches of at most `rows`, in memory that does not grow with the file.

    If it is asked for the whole file at once, Arrow may hold all that it has read until the end.
    """
    opened.request_together(range(opened.num_row_groups), columns)
    groups: list[int] = []  # one large group, or several small ones with about `rows` rows together
    held = 0
    for number in range(opened.num_row_groups):
        count = opened.metadata.row_group(number).num_rows
        if groups and held + count > rows:
            yield from opened.iter_batches(rows, row_groups=groups, columns=columns)
            groups, held = [], 0
        groups.append(number)
        held += count
    if groups:
        yield from opened.iter_batches(rows, row_groups=groups, columns=columns)


def read_files(
    paths: Iterable[str | Place], rows: int = _ROWS_AT_ONCE, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Yield all rows of several files, with one file open at a time."""
    for path in paths:
        with ParquetFile(path) as opened:
            yield from read_batches(opened, rows, columns)


def read_table(path: Place, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the whole file, or some of its columns."""
    with ParquetFile(path) as opened:
        return opened.read(columns)


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
    with ParquetFile(path) as opened:
        return opened.schema_arrow


def read_metadata(path: Place) -> pq.FileMetaData:
    """Return the footer alone."""
    with ParquetFile(path) as opened:
        return opened.metadata


def file_system(path: Place, parts: Sequence[tuple[int, int]] = ()) -> pafs.FileSystem:
    """Return the file system through which Arrow's datasets read a place; there a file has its `arrow_name`.

    `parts` are byte ranges of remote files that are requested together.
    """
    return pafs.PyFileSystem(_ByUrl(path.system, parts)) if is_remote(path) else pafs.LocalFileSystem()


def arrow_name(path: Place) -> str:
    """Return the name of a file in its `file_system`."""
    return str(path) if is_remote(path) else str(path.absolute())


class _ByUrl(pafs.FSSpecHandler):  # type: ignore[misc]
    """Opens files by their URLs. Arrow's own handler would request 50 MB of an S3 object to read its footer."""

    def __init__(self, system: Any, parts: Sequence[tuple[int, int]]) -> None:
        super().__init__(system)
        self._parts = parts

    def open_input_file(self, path: str) -> pa.PythonFile:
        opened: Any = reopen(path).open("rb", buffering=0)
        opened.parts = self._parts
        return pa.PythonFile(opened, mode="r")


def open_parquet_writer(path: Path, schema: pa.Schema, **options: Any) -> pq.ParquetWriter:
    """Open a new Parquet file for writing; use the result as a context manager."""
    settings = {"compression": COMPRESSION, "compression_level": COMPRESSION_LEVEL, **options}
    return pq.ParquetWriter(path, schema, **settings)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a table as a Parquet file."""
    with open_parquet_writer(path, table.schema) as writer:
        writer.write_table(table)


def take_each(
    files: Iterable[tuple[int, Place]],
    parts: Iterable[npt.NDArray[np.int64]],
    columns: Sequence[str],
    every: npt.NDArray[np.int64] | None = None,
) -> Iterator[pa.Table]:
    """Yield some columns of each part of rows; their numbers ascend, and each row group is read at most once.

    `files` are Parquet files with the numbers of their first rows; one is open at a time. Rows that follow one another
    are not copied. `every` has the rows of all parts, if they are known: a store is asked for them in few requests.
    """
    groups = _row_groups(files, columns, every)
    first = end = 0
    for rows in parts:
        found, at = [], 0
        while at < len(rows):
            while rows[at] >= end:
                table = None  # so that two row groups are not held at once
                first, end, read = next(groups)
            table = read() if table is None else table
            stop = int(np.searchsorted(rows, end))
            together = rows[stop - 1] - rows[at] + 1 == stop - at
            chosen = rows[at:stop] - first
            found.append(table.slice(chosen[0], len(chosen)) if together else table.take(pa.array(chosen)))
            at = stop
        yield pa.concat_tables(found)


def _row_groups(
    files: Iterable[tuple[int, Place]], columns: Sequence[str], every: npt.NDArray[np.int64] | None
) -> Iterator[tuple[int, int, Callable[[], pa.Table]]]:
    """Yield the first row of each row group and of the next one, and what reads the group."""
    for start, path in files:
        with ParquetFile(path) as opened:
            sizes = [opened.metadata.row_group(number).num_rows for number in range(opened.num_row_groups)]
            bounds = np.cumsum([start, *sizes])
            if every is not None:
                wanted = np.diff(np.searchsorted(every, bounds)) > 0
                opened.request_together(np.flatnonzero(wanted).tolist(), columns)
            for number, (first, end) in enumerate(pairwise(bounds.tolist())):
                yield first, end, lambda: opened.read_row_group(number, columns).select(columns)  # noqa: B023


def gather(files: Iterable[tuple[int, Place]], rows: npt.NDArray[np.int64], columns: Sequence[str]) -> pa.Table:
    """Return some columns of these rows, at least one, in the order of `rows`; each row group is read once."""
    order = np.argsort(rows, kind="stable")
    (found,) = take_each(files, [rows[order]], columns, rows[order])
    return found.combine_chunks().take(pa.array(np.argsort(order)))


# A bucket is sorted in memory: 8 MB at four times the published size, so about 32 MB at sixteen times. Some systems
# allow a process to have no more than 256 files open at once.
BUCKETS = 128
SORTED_ROWS = 16_000  # rows copied from a bucket at a time, so that memory does not hold the bucket twice
HELD_ROWS = 32_000  # rows collected before they are written, so that a bucket gets many rows at a time


class Spool:
    """Temporary files in `folder` that take rows in any order and return them sorted by `keys`, stable.

    `bucket_of` returns the bucket of each row, 0 to BUCKETS - 1; buckets must be in the order of the keys.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        keys: Sequence[str],
        bucket_of: Callable[[pa.Table], npt.NDArray[np.int64]],
    ) -> None:
        self._schema, self._keys, self._bucket_of = schema, keys, bucket_of
        self._paths = [str(folder / f"{bucket:03d}.arrow") for bucket in range(BUCKETS)]
        self._open = ExitStack()
        self._writers: list[pa.ipc.RecordBatchStreamWriter] = []
        self._held: list[pa.Table] = []
        self.rows = 0  # added so far

    def __enter__(self) -> Spool:
        for path in self._paths:  # not compressed, which would take three times as long
            sink = self._open.enter_context(pa.OSFile(path, "wb"))
            self._writers.append(self._open.enter_context(pa.ipc.new_stream(sink, self._schema)))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, rows: pa.Table) -> None:
        """Add rows."""
        self._held.append(rows)
        self.rows += len(rows)
        if sum(map(len, self._held)) >= HELD_ROWS:
            self._write_held()

    def _write_held(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held)
        self._held = []
        buckets = self._bucket_of(table)
        order = np.argsort(buckets, kind="stable")
        by_bucket = table.take(pa.array(order)).combine_chunks()
        starts = np.searchsorted(buckets[order], np.arange(BUCKETS + 1))
        for writer, start, end in zip(self._writers, starts, starts[1:], strict=False):
            if start < end:
                writer.write_table(by_bucket.slice(int(start), int(end - start)))

    def sorted_tables(self) -> Iterator[pa.Table]:
        """Yield the rows by `keys`, some at a time; rows with one `image_id` come together."""
        self._write_held()
        self._open.close()
        for path in self._paths:
            with pa.OSFile(path, "rb") as file, pa.ipc.open_stream(file) as reader:
                table = reader.read_all().combine_chunks()
            # Arrow's sort is stable.
            order = pc.sort_indices(table, [(key, "ascending") for key in self._keys])
            ids = table["image_id"].take(order).combine_chunks()
            begins = np.append(np.flatnonzero(first_of_each(ids)), len(ids))
            cuts = begins[np.searchsorted(begins, np.arange(0, len(ids), SORTED_ROWS))]
            for start, stop in pairwise(np.unique(np.append(cuts, len(ids))).tolist()):
                yield table.take(order.slice(start, stop - start))


def first_of_each(ids: pa.Array) -> npt.NDArray[np.bool_]:
    """Return a mask of the values in a sorted column that differ from the one before."""
    first = np.ones(len(ids), bool)
    first[1:] = pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)
    return first
