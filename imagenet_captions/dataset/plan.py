"""Plans a dataset's files: which rows form a row group, and which row groups form a shard.

A plan depends on the classes and sizes of the rows, and never on the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from imagenet_captions.storage.parquet import FEW_SHARDS, GROUP_BYTES, SHARD_BYTES, SHUFFLED_SHARDS, SMALL_SHARD


@dataclass(frozen=True)
class RowGroup:
    """Rows `start` to `stop` of the captions file."""

    start: int
    stop: int
    bytes: int


def plan_groups(wnids: Iterable[str], sizes: Iterable[int], fill: int = 1, most: int = GROUP_BYTES) -> list[RowGroup]:
    """Divide rows, sorted by class, into row groups that end with a class; a very large class fills several.

    A group of fewer than `fill` rows takes another class. With `fill=1` every class has groups of its own, so that a
    filter on a class reads the images of that class only.

    >>> [(g.start, g.stop) for g in plan_groups(["a", "a", "b", "c", "c"], [1, 1, 1, 9, 9], most=10)]
    [(0, 2), (2, 3), (3, 4), (4, 5)]
    >>> [(g.start, g.stop) for g in plan_groups(["a", "a", "b", "c", "c"], [1, 1, 1, 1, 1], fill=3)]
    [(0, 3), (3, 5)]
    """
    groups: list[RowGroup] = []
    start, held, row, before = 0, 0, 0, ""
    for wnid, size in zip(wnids, sizes, strict=True):
        full = wnid != before and row - start >= fill
        if row > start and (full or held + size > most):
            groups.append(RowGroup(start, row, held))
            start, held = row, 0
        held += size
        row, before = row + 1, wnid
    return [*groups, RowGroup(start, row, held)] if row else groups


def plan_shuffled(sizes: Sequence[int], shards: int | None, fill: int | None) -> list[list[RowGroup]]:
    """Divide rows in a seeded order over shards with as many rows each, in groups of `fill` rows if it is given.

    Without `shards` there are 16, or more for shards of about 500 MB.

    >>> [[(g.start, g.stop) for g in shard] for shard in plan_shuffled([1] * 7, shards=2, fill=3)]
    [[(0, 3)], [(3, 6), (6, 7)]]
    """
    count = max(SHUFFLED_SHARDS, round(sum(sizes) / SHARD_BYTES)) if shards is None else shards
    cuts = [len(sizes) * number // count for number in range(count + 1)]
    planned = []
    for start, stop in pairwise(cuts):
        # Every row counts as a class of its own, so that a group ends as soon as it is filled.
        groups = plan_groups(map(str, range(start, stop)), sizes[start:stop], fill or len(sizes))
        planned.append([RowGroup(start + group.start, start + group.stop, group.bytes) for group in groups])
    return [shard for shard in planned if shard]


def plan_shards(groups: Sequence[RowGroup]) -> list[list[RowGroup]]:
    """Distribute row groups over shards of about equal size, 500 MB or a little more each.

    >>> [len(shard) for shard in plan_shards([RowGroup(i, i + 1, 32_000_000) for i in range(10)])]
    [2, 2, 2, 2, 2]
    """
    total = sum(group.bytes for group in groups)
    count = max(1, round(total / SHARD_BYTES), min(FEW_SHARDS, total // SMALL_SHARD))
    shards: list[list[RowGroup]] = [[] for _ in range(count)]
    before = 0
    for group in groups:
        middle = before + group.bytes // 2
        shards[min(count - 1, middle * count // max(1, total))].append(group)
        before += group.bytes
    return [shard for shard in shards if shard] or [[]]
