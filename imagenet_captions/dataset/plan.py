"""Which rows go into which row group, and which row groups into which shard.

Both follow from the classes and sizes of the rows alone, never from the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SHARD_BYTES = 500_000_000
# A small dataset in a few more shards than its size asks for: they are what writers and readers share work by.
_FEW_SHARDS, _SMALL_SHARD = 8, 64_000_000


@dataclass(frozen=True)
class GroupLimits:
    """How much a row group may hold; a class that is too large for one fills several of its own."""

    rows: int
    bytes: int
    classes: int


# With images, a group is what a reader of one class fetches and what a writer holds: one class, about 32 MB at most.
IMAGE_GROUPS = GroupLimits(rows=1300, bytes=32_000_000, classes=1)
# Without, one class a group makes a footer of 1.9 MB, which takes longer to read than a class's texts: one class of
# published-size data opens cold in 32 to 46 ms with 8 to 16 classes a group, in 53 with one, in 104 with 64.
TEXT_GROUPS = GroupLimits(rows=100_000, bytes=64_000_000, classes=8)


@dataclass(frozen=True)
class Group:
    """Rows `start` to `stop` of the captions file."""

    start: int
    stop: int
    bytes: int


def plan_groups(wnids: Sequence[str], sizes: Sequence[int], limits: GroupLimits) -> Iterator[Group]:
    """Cut rows, sorted by class, into row groups.

    A class that fits into a group is never cut.

    >>> [(g.start, g.stop) for g in plan_groups(["a", "a", "b", "c"], [1, 1, 1, 9], GroupLimits(3, 10, 2))]
    [(0, 3), (3, 4)]
    """
    group: Group | None = None
    held = 0
    for class_ in _classes(wnids, sizes):
        if group is not None and held < limits.classes and _fits(_joined(group, class_), limits):
            group, held = _joined(group, class_), held + 1
            continue
        if group is not None:
            yield group
        *whole, group = _cut(class_, sizes, limits)
        held = 1
        yield from whole
        if whole:  # the rest of a cut class takes no other class in
            held = limits.classes
    if group is not None:
        yield group


def plan_shards(groups: Sequence[Group]) -> list[list[Group]]:
    """Share row groups out to shards of about equal size, 500 MB or a little more each.

    >>> [len(shard) for shard in plan_shards([Group(i, i + 1, 32_000_000) for i in range(10)])]
    [2, 2, 2, 2, 2]
    """
    total = sum(group.bytes for group in groups)
    count = max(1, round(total / _SHARD_BYTES), min(_FEW_SHARDS, total // _SMALL_SHARD))
    shards: list[list[Group]] = [[] for _ in range(count)]
    before = 0
    for group in groups:
        middle = before + group.bytes // 2
        shards[min(count - 1, middle * count // max(1, total))].append(group)
        before += group.bytes
    return [shard for shard in shards if shard] or [[]]


def _classes(wnids: Sequence[str], sizes: Sequence[int]) -> Iterator[Group]:
    start, held = 0, 0
    for row, wnid in enumerate(wnids):
        if row > start and wnid != wnids[row - 1]:
            yield Group(start, row, held)
            start, held = row, 0
        held += sizes[row]
    if len(wnids) > start:
        yield Group(start, len(wnids), held)


def _cut(class_: Group, sizes: Sequence[int], limits: GroupLimits) -> Iterator[Group]:
    start, held = class_.start, 0
    for row in range(class_.start, class_.stop):
        if row > start and (held + sizes[row] > limits.bytes or row - start >= limits.rows):
            yield Group(start, row, held)
            start, held = row, 0
        held += sizes[row]
    yield Group(start, class_.stop, held)


def _joined(first: Group, second: Group) -> Group:
    return Group(first.start, second.stop, first.bytes + second.bytes)


def _fits(group: Group, limits: GroupLimits) -> bool:
    return group.bytes <= limits.bytes and group.stop - group.start <= limits.rows
