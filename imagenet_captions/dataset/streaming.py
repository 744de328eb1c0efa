"""Streaming the rows of a dataset, in their order or with the row groups of all shards mixed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads

from imagenet_captions.dataset.loading import group_bytes, of_shards
from imagenet_captions.dataset.manifest import unchanged
from imagenet_captions.storage.parquet import check_rows, reading
from imagenet_captions.storage.places import Place, reopen

if TYPE_CHECKING:
    from datasets import IterableDataset
    from pyarrow.compute import Expression

_BATCH_ROWS = 256  # of a streamed dataset: about 30 MB with images
MIXED_BYTES, MIXED_GROUPS = 256 << 20, 16  # of the row groups that are mixed at a time


@dataclass(frozen=True)
class RowStream:
    """A generator of the rows of some shards, as an object that can be sent to worker processes."""

    dataset: Place
    digest: str | None  # of the manifest of the dataset that was opened
    condition: Expression | None
    names: tuple[str, ...]

    def __call__(self, shards: list[str]) -> Iterator[dict[str, Any]]:
        for shard in map(reopen, shards):
            batches = self._batches(shard)
            while True:
                # The whole shard is read before a row is yielded, to be sure that they are of one dataset.
                with unchanged(self.dataset, self.digest):
                    batch = next(batches, None)
                if batch is None:
                    break
                yield from batch.to_pylist()

    def _batches(self, shard: Place) -> Iterator[pa.RecordBatch]:
        with reading(shard):
            scanned = of_shards([shard]).scanner(
                columns=list(self.names), filter=self.condition, batch_size=_BATCH_ROWS, batch_readahead=2
            )
            for batch in scanned.to_batches():
                check_rows(batch)
                yield batch


Group = tuple[str, int]  # a shard, and the number of a row group in it


@dataclass(frozen=True)
class MixedRows:
    """A generator of the rows of some sets of row groups; each set is read as a whole and gives its rows in any order.

    Newer versions of `datasets` call it once for each set, and older ones with all sets.
    """

    rows: RowStream
    seed: int

    def __call__(self, mixtures: list[tuple[Group, ...]]) -> Iterator[dict[str, Any]]:
        for mixture in mixtures:
            tables = [self._read(group) for group in mixture]
            starts = np.cumsum([0, *map(len, tables)])
            random = np.random.default_rng([self.seed, *(group for _, group in mixture)])
            order = random.permutation(starts[-1])
            for start in range(0, len(order), _BATCH_ROWS):
                # Table by table: taking rows of all together would copy the whole mixture first.
                rows = order[start : start + _BATCH_ROWS]
                of = np.searchsorted(starts, rows, side="right") - 1
                parts = [table.take(rows[of == at] - starts[at]) for at, table in enumerate(tables)]
                yield from pa.concat_tables(parts).take(random.permutation(len(rows))).to_pylist()

    def _read(self, group: Group) -> pa.Table:
        shard = reopen(group[0])
        with unchanged(self.rows.dataset, self.rows.digest), reading(shard):
            (fragment,) = of_shards([shard]).get_fragments()
            part = fragment.subset(row_group_ids=[group[1]])
            table = part.to_table(columns=list(self.rows.names), filter=self.rows.condition)
            check_rows(table)
        return table


def streamed(parquet: pads.FileSystemDataset, rows: RowStream, shuffle: int | None) -> IterableDataset:
    """Return the rows of some shards as a stream; `shuffle` is the seed of their order, None for that of the shards."""
    import datasets

    schema = pa.schema([parquet.schema.field(name) for name in rows.names], metadata=parquet.schema.metadata)
    # A list, which `datasets` divides among the workers of a loader.
    parts: dict[str, Any] = {"shards": list(parquet.files)}
    if shuffle is not None:
        parts = {"mixtures": mixtures(parquet.files, rows, shuffle)}
    return datasets.IterableDataset.from_generator(
        rows if shuffle is None else MixedRows(rows, shuffle),
        features=datasets.Features.from_arrow_schema(schema),
        gen_kwargs=parts,
        split=datasets.Split.TRAIN,
    )


def mixtures(shards: Sequence[str], rows: RowStream, seed: int) -> list[tuple[Group, ...]]:
    """Return the row groups that can have wanted rows in a seeded order, in sets that memory holds."""
    found = [(shard, *group) for shard in shards for group in _possible(reopen(shard), rows)]
    mixed: list[tuple[Group, ...]] = []
    held: list[Group] = []
    size = 0
    for at in np.random.default_rng(seed).permutation(len(found)).tolist():
        shard, group, bytes_ = found[at]
        if held and (len(held) == MIXED_GROUPS or size + bytes_ > MIXED_BYTES):
            mixed.append(tuple(held))
            held, size = [], 0
        held.append((shard, group))
        size += bytes_
    return [*mixed, tuple(held or [(shards[0], 0)])]


def _possible(shard: Place, rows: RowStream) -> list[tuple[int, int]]:
    """Return the row groups that can have wanted rows, with the bytes of their wanted columns."""
    # A new fragment for each shard, because a fragment keeps its footer, and many footers add up.
    with reading(shard):
        (fragment,) = of_shards([shard]).get_fragments()
        part = fragment if rows.condition is None else fragment.subset(rows.condition)
        return [(group.id, group_bytes(fragment, group.id, rows.names)) for group in part.row_groups]
