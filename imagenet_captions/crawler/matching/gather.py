"""Read URL lists: keep the addresses of wanted ids and count all others. Used by `match`.

A few pieces are read at once and put together in order, so that the result depends neither on the number of workers nor
on the size of a piece. (The local engine uses threads, since numpy and Arrow release Python's lock.) Memory grows with
the ids, not with the lists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.crawler.matching.candidates import candidates, shown
from imagenet_captions.crawler.matching.id_keys import Keys, changes, wnid_numbers
from imagenet_captions.crawler.matching.url_lines import BLANK, NO_ID, Lines, read_lines
from imagenet_captions.crawler.matching.url_lists import Stretch, read_pieces
from imagenet_captions.engines.local import Engine, default_workers
from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import MOST_LISTED
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.spool import Spool

_DRAWER = 100_000  # wnids; WordNet's go up to 15,300,358, so that some 150 drawers hold 22,000 classes
FOLD_AT = 1 << 22
_MOST_WORKERS = 4  # with more, reading the list takes most of the time

# Tells whether a list has any address of Flickr's: the wanted ids may be few and have none.
_FLICKR = re.compile(rb"(?://|[ \t])(?:[a-z0-9-]+\.)*(?:(?:static)?flickr\.com|flic\.kr)[:/]", re.IGNORECASE)


class KeyCounter:
    """A set of keys of eight bytes each, kept in drawers by class, so that sorting a drawer needs little memory."""

    def __init__(self) -> None:
        self._drawers: dict[int, list[Keys]] = {}
        self._keys = 0
        self._fold_at = FOLD_AT

    def add(self, keys: Keys) -> None:
        """Add sorted keys."""
        drawers = wnid_numbers(keys) // _DRAWER
        heads = np.flatnonzero(changes(drawers))
        for place, part in zip(heads.tolist(), np.split(keys, heads[1:]), strict=False):
            self._drawers.setdefault(int(drawers[place]), []).append(part.copy())
        self._keys += len(keys)
        if self._keys > self._fold_at:
            self._keys = sum(len(self._fold(drawer)) for drawer in self._drawers)
            self._fold_at = self._keys + max(FOLD_AT, self._keys // 2)

    def by_class(self) -> tuple[Keys, Keys]:
        """Return the sorted numbers of the wnids, and the number of different ids of each."""
        numbers, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for drawer in sorted(self._drawers):
            wnids = wnid_numbers(self._fold(drawer))
            heads = np.flatnonzero(changes(wnids))
            numbers.append(wnids[heads])
            counts.append(np.diff(np.append(heads, len(wnids))))
        return np.concatenate(numbers), np.concatenate(counts)

    def _fold(self, drawer: int) -> Keys:
        """Sort the keys of a drawer and drop repeated ones."""
        keys: Keys = np.concatenate(self._drawers[drawer])
        keys.sort()
        keys = keys[changes(keys)]
        self._drawers[drawer] = [keys]
        return keys


@dataclass(frozen=True)
class WantedKeys:
    """The wanted ids: all of some classes (sorted numbers of wnids), or of these only the ones in `ids` (sorted)."""

    classes: Keys
    ids: Keys | None

    def lines(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return masks of the wanted keys and of those of other classes; lines without an id are in neither."""
        numbers = wnid_numbers(keys)
        # Lists are sorted by class, so that most lines have the class of the line before.
        heads = np.flatnonzero(changes(numbers))
        inside = np.repeat(contains(self.classes, numbers[heads]), np.diff(np.append(heads, len(numbers))))
        outside = ~inside & (keys >= 0)
        if self.ids is not None:
            inside[inside] = contains(self.ids, keys[inside])
        return inside, outside


@dataclass
class Gathered:
    """The content of the lists: candidates of the wanted ids, ids of other classes, and unreadable lines."""

    candidates: Spool
    outside: KeyCounter = field(default_factory=KeyCounter)
    unreadable: int = 0
    listed: list[str] = field(default_factory=list)  # the first unreadable lines, one remark each


class _Part(NamedTuple):
    """The content of one block."""

    table: pa.Table
    outside: Keys
    lines: int
    readable: int
    unreadable: int
    listed: list[tuple[int, str]]
    has_flickr: bool


def gather(urls: Sequence[Place], wanted: WantedKeys, engine: Engine, spool: Spool) -> Gathered:
    """Read every list once, in the order given; candidates go to `spool`.

    Raises InputError for a list that is missing, damaged, empty, or without any Flickr address.
    """
    gathered = Gathered(spool)
    for number, path in enumerate(urls, 1):
        _gather_list(path, number, wanted, gathered, engine)
    return gathered


def _gather_list(path: Place, number: int, wanted: WantedKeys, gathered: Gathered, engine: Engine) -> None:
    lines = readable = 0
    has_flickr = False
    pieces = read_pieces(path, "the URL list")
    workers = min(default_workers(), _MOST_WORKERS)
    for part in chain.from_iterable(engine.run(partial(_read_piece, wanted), pieces, workers, threads=True)):
        gathered.candidates.add(part.table)
        gathered.outside.add(part.outside)
        gathered.unreadable += part.unreadable
        room = MOST_LISTED - len(gathered.listed)
        gathered.listed += [f"list {number}, line {lines + line + 1}: {text}" for line, text in part.listed[:room]]
        lines += part.lines
        readable += part.readable
        has_flickr |= part.has_flickr
    if not readable:
        found = "is empty" if not gathered.unreadable else "has no line of an image id and an address"
        raise InputError(f"the URL list {path} {found}; give a list such as ImageNet's fall11_urls.txt")
    if not has_flickr:
        raise InputError(f"the URL list {path} has no Flickr address at all; check that it is the right file")


def _read_piece(wanted: WantedKeys, piece: Stretch | bytes) -> list[_Part]:
    blocks = [piece] if isinstance(piece, bytes) else piece.blocks()
    return [_read_block(wanted, block) for block in blocks]


def _read_block(wanted: WantedKeys, block: bytes) -> _Part:
    lines = read_lines(block)
    chosen, outside = wanted.lines(lines.keys)
    table = candidates(lines.keys[chosen], lines.urls(chosen))
    others = np.unique(lines.keys[outside]) if wanted.ids is None else np.empty(0, np.int64)
    odd = np.flatnonzero(lines.keys == NO_ID)
    blank = int(np.count_nonzero(lines.keys == BLANK))
    total = len(lines.keys)
    listed = [(line, _shown_line(lines, line)) for line in odd[:MOST_LISTED].tolist()]
    has_flickr = bool((table["rank"].to_numpy() == 0).any()) or _FLICKR.search(block) is not None
    return _Part(table, others, total, total - len(odd) - blank, len(odd), listed, has_flickr)


def _shown_line(lines: Lines, line: int) -> str:
    return shown(lines.text(line).decode("utf-8", "replace").strip())


def contains(sorted_keys: Keys, keys: Keys) -> npt.NDArray[np.bool_]:
    """Return a mask of the keys that are in a sorted array."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.bool_)
    positions = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found: npt.NDArray[np.bool_] = sorted_keys[positions] == keys
    return found
