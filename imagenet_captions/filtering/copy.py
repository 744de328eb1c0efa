"""Write rows of one dataset as a shard of another; the images' bytes pass through untouched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.features import local_labels
from imagenet_captions.dataset.plan import Group
from imagenet_captions.dataset.shard import ShardFile, open_shard
from imagenet_captions.storage.parquet import parquet_file

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CopyJob:
    """All that a worker needs to write a shard."""

    parent: Sequence[Path]  # the shards of the parent's config
    folder: Path  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    schema: pa.Schema
    groups: Sequence[Group]  # places in the list of all rows that are kept; one row group each
    rows: Rows  # the parent's rows from the first group's start on


def copy_shard(job: CopyJob) -> ShardFile:
    """Write a shard and say what is in it."""
    first = job.groups[0].start if job.groups else 0
    wnids = local_labels(job.schema)
    with open_shard(job.folder, job.name, job.schema) as writer:
        reader = ParentRows(job.parent)
        for group in job.groups:
            table = reader.take(job.rows[group.start - first : group.stop - first])
            writer.write((table if wnids is None else _relabelled(table, wnids)).select(job.schema.names))
    return writer.file


class ParentRows:
    """Gives rows of a dataset by their number, in ascending order, and reads each row group at most once."""

    def __init__(self, shards: Sequence[Path]) -> None:
        self._files = [parquet_file(shard) for shard in shards]
        self._groups = [(file, at) for file in self._files for at in range(file.metadata.num_row_groups)]
        self._starts = [0, *accumulate(file.metadata.row_group(at).num_rows for file, at in self._groups)]
        self._held: tuple[int, pa.Table] | None = None

    def sizes(self) -> Iterator[tuple[int, int]]:
        """For each row group, its rows, and the bytes of one of them."""
        for file, at in self._groups:
            group = file.metadata.row_group(at)
            if group.num_rows:
                yield group.num_rows, max(1, group.total_byte_size // group.num_rows)

    def take(self, rows: Rows) -> pa.Table:
        """These rows, of which there is at least one."""
        parts = []
        at = 0
        while at < len(rows):
            number = bisect_right(self._starts, int(rows[at])) - 1
            end = int(np.searchsorted(rows, self._starts[number + 1]))
            parts.append(self._group(number).take(pa.array(rows[at:end] - self._starts[number])))
            at = end
        return pa.concat_tables(parts)

    def _group(self, number: int) -> pa.Table:
        if self._held is None or self._held[0] != number:
            file, at = self._groups[number]
            self._held = (number, file.read_row_group(at))
        return self._held[1]


def _relabelled(table: pa.Table, wnids: Sequence[str]) -> pa.Table:
    """The table with labels counted over these classes; what it already has as `label_original` stays."""
    if "label_original" not in table.column_names:
        table = table.append_column("label_original", table["label"])
    labels = pc.index_in(table["wnid"], pa.array(wnids, pa.string())).cast(pa.int64())
    return table.set_column(table.column_names.index("label"), "label", labels)
