"""Write one Parquet shard: rows of the captions file, with their images."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagenet_captions.packager.features import dataset_schema
from imagenet_captions.packager.images import Place
from imagenet_captions.packager.plan import Group
from imagenet_captions.packager.reading import ImageReader, RowReader
from imagenet_captions.records import RAW_ROW, ROW

_TEXTS = frozenset({"title", "description", "caption", "tags"})
# Values that repeat within a class; anything else would make a dictionary that is built and thrown away.
_REPEATING = frozenset({"wnid", "label", "class_name", "tags", "language", "owner", "owner_name", "license", "source"})
_PAGE_ROWS = 16  # how often a page's size is looked at: images would else make one page of a whole row group


@dataclass(frozen=True)
class ShardJob:
    """All that a worker needs to write a shard."""

    captions: Path
    folder: Path  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    raw: bool  # texts as the source gave them
    groups: Sequence[Group]  # one row group each
    places: Sequence[Place | None] | None  # of the rows from the first group's start on; None: no image column
    dropped: frozenset[int]  # rows of the captions file that are left out


@dataclass
class Shard:
    """What was written."""

    name: str
    sha256: str
    bytes: int
    rows: int = 0
    images: int = 0
    faults: dict[int, str] = field(default_factory=dict)  # rows of the captions file with a broken image
    filled: Counter[str] = field(default_factory=Counter)  # per column, the rows in which it is not empty
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    wnids: Counter[str] = field(default_factory=Counter)


def write_shard(job: ShardJob) -> Shard:
    """Write a shard and say what is in it; rows with a broken image are left out and reported."""
    path = job.folder / job.name
    path.parent.mkdir(parents=True, exist_ok=True)
    row = RAW_ROW if job.raw else ROW
    schema = dataset_schema(row, images=job.places is not None)
    shard = Shard(job.name, "", 0)
    # "x": a worker that outlives its killed run for a moment must not write into the file of the next run.
    with path.open("xb") as opened:
        hashing = _Hashing(opened)
        with pq.ParquetWriter(hashing, schema, **_layout(schema)) as writer:
            for table, faults in _tables(job, row):
                shard.faults |= faults
                if len(table):
                    writer.write_table(table.cast(schema), row_group_size=len(table))
                    _count(shard, table)
    shard.sha256, shard.bytes = hashing.hexdigest(), hashing.tell()
    return shard


def _tables(job: ShardJob, row: pa.Schema) -> Iterator[tuple[pa.Table, dict[int, str]]]:
    """Yield the row groups, with the faults found in each; the next one is read while one is written."""
    columns = {("raw_" + name if job.raw and name in _TEXTS else name): name for name in row.names}
    with closing(RowReader(job.captions, list(columns))) as rows, closing(ImageReader()) as images:
        first = job.groups[0].start if job.groups else 0

        def read(group: Group) -> tuple[pa.Table, dict[int, str]]:
            table = rows.read(group.start, group.stop).rename_columns(list(columns.values()))
            faults: dict[int, str] = {}
            if job.places is not None:
                data, faults = images.read(job.places[group.start - first : group.stop - first])
                table = table.append_column("image", _image_column(data, table["filename"]))
            out = job.dropped.intersection(range(group.start, group.stop)).union(group.start + at for at in faults)
            if out:
                table = table.filter(pa.array([at not in out for at in range(group.start, group.stop)]))
            return table, {group.start + at: fault for at, fault in faults.items()}

        with ThreadPoolExecutor(1) as ahead:
            upcoming = None
            for group in job.groups:
                current, upcoming = upcoming, ahead.submit(read, group)
                if current is not None:
                    yield current.result()
            if upcoming is not None:
                yield upcoming.result()


def _image_column(data: pa.Array, filenames: pa.ChunkedArray) -> pa.Array:
    names = filenames.combine_chunks()
    mask = data.is_null()
    paths = pc.if_else(mask, pa.scalar(None, pa.string()), names)
    return pa.StructArray.from_arrays([data, paths], ["bytes", "path"], mask=mask)


def _count(shard: Shard, table: pa.Table) -> None:
    shard.rows += len(table)
    for name in table.column_names:
        column = table[name]
        if name == "image":
            shard.images += len(column) - column.null_count
        elif pa.types.is_string(column.type):
            shard.filled[name] += pc.sum(pc.not_equal(column, "")).as_py() or 0
        elif pa.types.is_list(column.type):
            shard.filled[name] += pc.sum(pc.greater(pc.list_value_length(column), 0)).as_py() or 0
        else:
            shard.filled[name] += len(column) - column.null_count
    for name, counter in (("language", shard.languages), ("source", shard.sources), ("wnid", shard.wnids)):
        if name in table.column_names:
            for entry in table[name].value_counts().to_pylist():
                if entry["values"] is not None:
                    counter[entry["values"]] += entry["counts"]


def _layout(schema: pa.Schema) -> dict[str, object]:
    """How the columns are stored: texts small, images as they are, statistics where a filter can use them."""
    leaves = {leaf: field.name for field in schema for leaf in _leaves(field)}
    images = "image" in schema.names
    return {
        "compression": {leaf: "NONE" if leaf == "image.bytes" else "ZSTD" for leaf in leaves},
        "use_dictionary": [leaf for leaf, name in leaves.items() if name in _REPEATING],
        "write_statistics": [leaf for leaf, name in leaves.items() if name != "image" and name not in _TEXTS],
        "write_page_index": True,
        **({"write_batch_size": _PAGE_ROWS} if images else {}),
    }


def _leaves(field: pa.Field) -> list[str]:
    if pa.types.is_struct(field.type):
        return [f"{field.name}.{field.type.field(at).name}" for at in range(field.type.num_fields)]
    return [f"{field.name}.list.element"] if pa.types.is_list(field.type) else [field.name]


class _Hashing:
    """A file to write to that knows the SHA-256 of what was written, so that nothing is read again."""

    closed = False

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        self._digest = hashlib.sha256()
        self._at = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._opened.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._opened.flush()

    def close(self) -> None:
        self.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
