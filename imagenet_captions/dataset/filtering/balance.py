"""MetaCLIP's balanced sampling: a row that names only frequent classes is kept less often (arXiv:2309.16671).

Xu et al., "Demystifying CLIP Data" (ICLR 2024), keep a text with probability 1 - prod(1 - min(1, T / count)) over the
entries that it matches. Here an entry is a class that the texts name, or the row's own class.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.sampling import sampling_chance, wnids_of
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.storage.parquet import read_files
from imagenet_captions.storage.places import Place

log = logging.getLogger(__name__)

ENTRIES = MENTIONS, CLASS = ("mentions", "class")

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Balance:
    """Balanced sampling with `threshold` matches per entry; `by` says what an entry is."""

    threshold: int
    by: str = MENTIONS

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise InputError(f"`balance` must be at least 1 match per entry, not {self.threshold}")
        if self.by not in ENTRIES:
            raise InputError(f"`by` must be mentions or class, not {quoted(self.by)}")


def balanced(shards: Sequence[str | Place], remaining: Flags, balance: Balance, seed: int, among: ClassSet) -> Flags:
    """Return a mask of the rows that balanced sampling keeps of the `remaining` ones; the log has the tail curve.

    Raises InputError if none of them matches an entry.
    """
    rows, entries = _matches(shards, remaining, balance.by, among)
    if not len(rows):
        raise InputError("no row mentions a class, so `balance` has nothing to count; give `by='class'`")
    size = len(classes.wnids(among))
    before = np.bincount(entries, minlength=size)
    wanted = keep_probabilities(rows, entries, before, balance.threshold, len(remaining))
    kept = remaining & (_chances(shards, seed) < wanted)
    log.info("%s", format_tail(before, np.bincount(entries[kept[rows]], minlength=size), balance.threshold))
    return kept


def keep_probabilities(rows: Integers, entries: Integers, counts: Integers, threshold: int, size: int) -> Floats:
    """Return the probability to keep each of `size` rows; row `rows[i]` matches entry `entries[i]`.

    >>> keep_probabilities(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([40, 20]), 10, size=3).round(3)
    array([0.25 , 0.625, 0.   ])
    """
    with np.errstate(divide="ignore"):  # an entry with at most `threshold` matches keeps all of its rows
        logs = np.log1p(-np.minimum(1, threshold / counts))
    return 0 - np.expm1(np.bincount(rows, weights=logs[entries], minlength=size))


def _matches(shards: Sequence[str | Place], remaining: Flags, by: str, among: ClassSet) -> tuple[Integers, Integers]:
    """Return the row and the entry of every match of the remaining rows."""
    rows, entries = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    start = 0
    for batch in read_files(shards, columns=["image_id" if by == "class" else by]):
        row, entry = _of_class(batch[0], among) if by == "class" else _of_mentions(batch[0])
        wanted = remaining[start + row]
        rows.append(start + row[wanted])
        entries.append(entry[wanted])
        start += len(batch)
    return np.concatenate(rows), np.concatenate(entries)


def _of_class(ids: pa.Array, among: ClassSet) -> tuple[Integers, Integers]:
    labels = pc.index_in(wnids_of(ids), value_set=pa.array(classes.wnids(among), pa.string()))
    return np.arange(len(ids)), labels.to_numpy(zero_copy_only=False).astype(np.int64)


def _of_mentions(mentions: pa.Array) -> tuple[Integers, Integers]:
    labels = pc.split_pattern(pc.utf8_trim_whitespace(mentions), " ")
    flat, rows = pc.list_flatten(labels), pc.list_parent_indices(labels)
    there = pc.not_equal(flat, "")
    return (
        rows.filter(there).to_numpy(zero_copy_only=False).astype(np.int64),
        flat.filter(there).cast(pa.int64()).to_numpy(zero_copy_only=False),
    )


def _chances(shards: Sequence[str | Place], seed: int) -> Floats:
    ids = (image_id for batch in read_files(shards, columns=["image_id"]) for image_id in batch[0].to_pylist())
    return np.fromiter((sampling_chance(image_id, seed) for image_id in ids), np.float64)


def format_tail(before: Integers, after: Integers, threshold: int) -> str:
    """Return as text how many entries are rare, and which share of the matches the frequent ones have.

    >>> print(format_tail(np.array([0, 4, 30, 70]), np.array([0, 4, 9, 12]), 10))
    entries with               before   after
    no match                        1       1
    at most 1                       1       1
    at most 10                      2       3
    at most 100                     4       4
    matches in the 2 entries
    with more than 10           96.2%   84.0%
    """
    powers = [10**power for power in range(len(str(max(1, before.max() - 1))) + 1)]
    limits = {"no match": 0} | {f"at most {power:,}": power for power in powers}
    lines: list[tuple[str, ...]] = [("entries with", "before", "after")]
    lines += [(name, *(f"{np.sum(counts <= most):,}" for counts in (before, after))) for name, most in limits.items()]
    head = before > threshold
    shares = (f"{counts[head].sum() / max(1, counts.sum()):.1%}" for counts in (before, after))
    lines += [(f"matches in the {head.sum():,} entries", "", ""), (f"with more than {threshold:,}", *shares)]
    width = max(len(name) for name, *_ in lines)
    return "\n".join(f"{name:<{width}} {values[0]:>8}{values[1]:>8}".rstrip() for name, *values in lines)
