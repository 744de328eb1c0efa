"""Write one Parquet shard: rows of the captions file, with their images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import pyarrow as pa

from imagenet_captions.dataset.facts import ShardFile
from imagenet_captions.dataset.writing import TEXTS, RowGroup, dataset_schema, open_shard
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles, image_column
from imagenet_captions.schema import RAW_ROW, ROW
from imagenet_captions.storage.parquet import RowReader
from imagenet_captions.storage.places import Place


@dataclass(frozen=True)
class ShardJob:
    """The input of a worker that writes a shard."""

    captions: Place
    folder: Place  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    raw: bool  # texts as the source gave them
    groups: Sequence[RowGroup]  # one row group each
    ranges: Sequence[ByteRange | None] | None  # of the rows from the first group's start on; None: no image column
    dropped: frozenset[int]  # rows of the captions file that are left out
    classes: ClassSet


@dataclass(frozen=True)
class Shard:
    """A written shard, and the rows left out of it."""

    file: ShardFile
    faults: Mapping[int, str]  # rows of the captions file with a broken image


def write_shard(job: ShardJob) -> Shard:
    """Write a shard; rows with a broken image are left out and reported."""
    row = RAW_ROW if job.raw else ROW
    all_faults: dict[int, str] = {}
    schema = dataset_schema(row, job.ranges is not None, job.classes)
    with open_shard(job.folder, job.name, schema) as writer:
        for table, faults in _tables(job, row):
            all_faults |= faults
            writer.write(table)
    return Shard(writer.file, all_faults)


def _tables(job: ShardJob, row: pa.Schema) -> Iterator[tuple[pa.Table, dict[int, str]]]:
    """Yield the row groups, with the faults found in each; the next one is read while one is written."""
    columns = {("raw_" + name if job.raw and name in TEXTS else name): name for name in row.names}
    with closing(RowReader([(0, job.captions)], list(columns))) as rows, closing(OpenFiles()) as images:
        first = job.groups[0].start if job.groups else 0

        def read(group: RowGroup) -> tuple[pa.Table, dict[int, str]]:
            table = rows.read(group.start, group.stop).rename_columns(list(columns.values()))
            faults: dict[int, str] = {}
            if job.ranges is not None:
                data, faults = images.read_images(job.ranges[group.start - first : group.stop - first])
                table = table.append_column("image", image_column(data, table["filename"]))
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
