"""Copying rows of one dataset to a shard of another; the bytes of images are not changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.facts import ShardFile
from imagenet_captions.dataset.writing import RowGroup, local_labels, open_shard
from imagenet_captions.errors import InputError
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles, image_column
from imagenet_captions.storage.parquet import RowReader, gather, read_metadata
from imagenet_captions.storage.places import Place

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ParentShard:
    """A shard of one config of the parent, with the range of its row numbers."""

    path: Place
    start: int
    stop: int

    def has_any(self, rows: Rows) -> bool:
        """Return whether the shard has any of these row numbers, which are sorted."""
        return bool(np.searchsorted(rows, self.start) < np.searchsorted(rows, self.stop))


@dataclass(frozen=True)
class CopyJob:
    """The task of a worker: one shard to write."""

    parents: Sequence[ParentShard]  # that have its rows
    folder: Place  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    schema: pa.Schema
    columns: Sequence[str]  # to read from the parent
    groups: Sequence[RowGroup]  # ranges of all kept rows; each becomes a row group
    rows: Rows  # row numbers in the parent, from the start of the first group
    reordered: bool = False  # the rows do not ascend
    ranges: Sequence[ByteRange | None] | None = None  # of their images, if they do not and the dataset has images


def parent_shards(dataset: Place, rows: Mapping[str, int]) -> list[ParentShard]:
    """Return the shards of one config, given their names and numbers of rows."""
    stops = accumulate(rows.values())
    return [ParentShard(dataset / name, stop - rows[name], stop) for name, stop in zip(rows, stops, strict=True)]


def row_sizes(parents: Sequence[ParentShard], rows: Rows, images: bool) -> npt.NDArray[np.int64]:
    """Return the approximate size of each of these rows in bytes, with or without its image: the group's average."""
    stops, sizes = [0], [0]
    for parent in parents:
        metadata = read_metadata(parent.path)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            stops.append(stops[-1] + group.num_rows)
            size = group.total_byte_size if images else _text_bytes(group)
            sizes.append(max(1, size // max(1, group.num_rows)))
    return np.array(sizes, np.int64)[np.searchsorted(stops, rows, side="right")]


def _text_bytes(group: Any) -> int:
    columns = map(group.column, range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if not column.path_in_schema.startswith("image."))


def copy_shard(job: CopyJob) -> ShardFile:
    """Write a shard and return its counts."""
    wnids = local_labels(job.schema)
    shards = [(shard.start, shard.path) for shard in job.parents]
    with open_shard(job.folder, job.name, job.schema) as writer:
        for table in _gathered(job, shards) if job.reordered else _copied(job, shards):
            writer.write((table if wnids is None else _relabelled(table, wnids)).select(job.schema.names))
    return writer.file


def _copied(job: CopyJob, shards: Sequence[tuple[int, Place]]) -> Iterator[pa.Table]:
    """Yield the row groups of rows that ascend."""
    with closing(RowReader(shards, job.columns)) as parents:
        for part in _parts(job):
            yield parents.take(job.rows[part])


def _gathered(job: CopyJob, shards: Sequence[tuple[int, Place]]) -> Iterator[pa.Table]:
    """Yield the row groups of rows from everywhere: the texts of the whole shard are held, the images of one group."""
    texts = gather(shards, job.rows, job.columns)
    with closing(OpenFiles()) as images:
        for part in _parts(job):
            table = texts.slice(part.start, part.stop - part.start)
            if job.ranges is not None:
                data, faults = images.read_images(job.ranges[part])
                for row, fault in faults.items():
                    raise InputError(f"the image {table['image_id'][row]} cannot be used ({fault}); package it again")
                table = table.append_column("image", image_column(data, table["filename"]))
            yield table


def _parts(job: CopyJob) -> Iterator[slice]:
    first = job.groups[0].start if job.groups else 0
    return (slice(group.start - first, group.stop - first) for group in job.groups)


def _relabelled(table: pa.Table, wnids: Sequence[str]) -> pa.Table:
    """Return the table with labels counted over these classes; an existing `label_original` stays."""
    if "label_original" not in table.column_names:
        table = table.append_column("label_original", table["label"])
    labels = pc.index_in(table["wnid"], pa.array(wnids, pa.string())).cast(pa.int64())
    return table.set_column(table.column_names.index("label"), "label", labels)
