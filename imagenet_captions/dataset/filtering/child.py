"""The shards of the dataset that a filter writes: which rows each has, in which order, and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, repeat

import numpy as np
import pyarrow as pa

from imagenet_captions.dataset.filtering.copy import CopyJob, ParentShard, Rows, parent_shards, row_sizes
from imagenet_captions.dataset.filtering.select import Selection
from imagenet_captions.dataset.filtering.settings import FilterSettings
from imagenet_captions.dataset.manifest import Manifest
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.dataset.writing import (
    RowGroup,
    local_labels,
    plan_groups,
    plan_shards,
    plan_shuffled,
    shard_name,
    with_local_labels,
    without_images,
)
from imagenet_captions.errors import InputError
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.tables import byte_ranges_in_shards
from imagenet_captions.storage.parquet import TEXT_ROWS, read_schema
from imagenet_captions.storage.places import Place


@dataclass(frozen=True)
class Child:
    """A dataset that is being written from another one.

    Its rows are in the parent's order, or in the order of a seed, for which each is looked up in the parent.
    """

    dataset: Place
    folder: Place
    parent: Manifest
    selection: Selection
    settings: FilterSettings

    def jobs(self, raw: bool) -> Iterator[CopyJob]:
        """Yield the shards of one config."""
        parents = parent_shards(self.dataset, self.parent.shards("raw" if raw else "data"))
        before = read_schema(parents[0].path)
        schema = self._schema(before)
        images = "image" in schema.names
        columns = [name for name in before.names if name != "image" or (images and not self._reordered)]
        sizes = row_sizes(parents, self._rows, images)
        ranges = self._ranges(parents) if images and self._reordered else None
        shards = self._plan(list(map(int, sizes)), images)
        for number, groups in enumerate(shards):
            name, part = shard_name(raw, number, len(shards)), slice(groups[0].start, groups[-1].stop)
            rows = self._rows[part]
            needed = parents if self._reordered else [parent for parent in parents if parent.has_any(rows)]
            found = None if ranges is None else ranges[part]
            yield CopyJob(needed, self.folder, name, schema, columns, groups, rows, self._reordered, found)

    @property
    def _reordered(self) -> bool:
        return self.settings.shuffle is not None

    @cached_property
    def _ids(self) -> list[str]:
        return [image_id for ids in self.selection.kept_ids() for image_id in ids.to_pylist()]

    @cached_property
    def _order(self) -> Rows:
        """The kept rows in the order of the child, counted among themselves."""
        if self.settings.shuffle is None:
            return np.arange(self.selection.kept)
        return seeded_order(self._ids, self.settings.shuffle)

    @cached_property
    def _rows(self) -> Rows:
        return self.selection.rows()[self._order]

    def _plan(self, sizes: list[int], images: bool) -> list[list[RowGroup]]:
        """Return the shards and their row groups: sorted rows as packaging has them, others over more shards."""
        if not self._reordered and self.parent.shuffled is None:
            counted = self.selection.classes().items()
            wnids = chain.from_iterable(repeat(wnid, count) for wnid, count in counted)
            return plan_shards(plan_groups(wnids, sizes, 1 if images else TEXT_ROWS))
        if (shards := self.settings.shards) is not None and shards > len(sizes):
            raise InputError(f"`shards` is {shards:,}, but only {len(sizes):,} rows are left; give at most so many")
        return plan_shuffled(sizes, shards, None if images else TEXT_ROWS)

    def _ranges(self, parents: list[ParentShard]) -> list[ByteRange | None]:
        """Return where the parent has the image of each row of the child."""
        found = byte_ranges_in_shards([parent.path for parent in parents])
        return [found.get(self._ids[row]) for row in self._order.tolist()]

    def _schema(self, parent: pa.Schema) -> pa.Schema:
        schema = without_images(parent) if self.settings.without_images and "image" in parent.names else parent
        # Labels that are already local would otherwise name classes without rows.
        local = self.settings.local_labels or local_labels(schema) is not None
        return with_local_labels(schema, sorted(self.selection.classes())) if local else schema
