"""Everything that URL lists say about the ids that count, and how many others they hold.

A few pieces are read at once (on threads, where the engine is this machine: the work is numpy's and Arrow's, which let
go of Python's lock) and put together in order, so that neither workers nor the size of a piece show in the result. What
is kept grows with the ids, not with the lists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.crawler.matching.candidates import Collector, candidates, shown
from imagenet_captions.crawler.matching.id_keys import Keys, wnid_numbers
from imagenet_captions.crawler.matching.key_counter import KeyCounter
from imagenet_captions.crawler.matching.url_lines import BLANK, NO_ID, Lines, read_lines
from imagenet_captions.crawler.matching.url_lists import Stretch, read_pieces
from imagenet_captions.engines.local import LOCAL, Engine, default_workers
from imagenet_captions.errors import InputError

MOST_LISTED = 1000  # unreadable lines that get a row of their own
_MOST_WORKERS = 4  # reading the list is what takes the time from here on

# Only asks whether a list has anything of Flickr's: the ids that count may be few, and have none.
_FLICKR = re.compile(rb"(?://|[ \t])(?:[a-z0-9-]+\.)*(?:(?:static)?flickr\.com|flic\.kr)[:/]", re.IGNORECASE)


@dataclass(frozen=True)
class WantedKeys:
    """The ids that count: all of some classes (sorted numbers of their wnids), or those of them in `ids` (sorted)."""

    classes: Keys
    ids: Keys | None

    def lines(self, keys: Keys) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which keys count, and which are of other classes than the wanted; lines without an id are neither."""
        numbers = wnid_numbers(keys)
        # Lists are sorted by class, so that few lines differ from the one before.
        heads = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
        inside = np.repeat(contains(self.classes, numbers[heads]), np.diff(np.append(heads, len(numbers))))
        outside = ~inside & (keys >= 0)
        if self.ids is not None:
            inside[inside] = contains(self.ids, keys[inside])
        return inside, outside


@dataclass
class Gathered:
    """What the lists hold: candidates for the ids that count, ids of other classes, lines that cannot be read."""

    candidates: Collector
    outside: KeyCounter = field(default_factory=KeyCounter)
    unreadable: int = 0
    listed: list[str] = field(default_factory=list)  # the first unreadable lines, one remark each


class _Part(NamedTuple):
    """What one block holds."""

    table: pa.Table
    outside: Keys
    lines: int
    readable: int
    unreadable: int
    listed: list[tuple[int, str]]
    has_flickr: bool


def gather(urls: Sequence[Path], wanted: WantedKeys, engine: Engine = LOCAL, scratch: Path | None = None) -> Gathered:
    """Read every list once, in the order given; what is too much for the memory goes to files in `scratch`.

    Raises InputError for a list that is missing, damaged, empty, or without any address of Flickr's.
    """
    gathered = Gathered(Collector(scratch))
    for number, path in enumerate(urls, 1):
        _gather_list(path, number, wanted, gathered, engine)
    return gathered


def _gather_list(path: Path, number: int, wanted: WantedKeys, gathered: Gathered, engine: Engine) -> None:
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
    """Which keys are among sorted ones."""
    if not len(sorted_keys):
        return np.zeros(len(keys), np.bool_)
    places = np.minimum(np.searchsorted(sorted_keys, keys), len(sorted_keys) - 1)
    found: npt.NDArray[np.bool_] = sorted_keys[places] == keys
    return found
