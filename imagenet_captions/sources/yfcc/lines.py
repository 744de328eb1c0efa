"""Find the lines of wanted photos in YFCC100M's text: 100 million lines, 60 GB, plain or compressed.

All tabs and line ends of a block are found at once; a line is split and decoded only if its photo is wanted. Lines end
only at a newline.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import chain
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from imagenet_captions.engines import local as engine
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.addresses import MAX_DIGITS
from imagenet_captions.outcomes import MOST_LISTED
from imagenet_captions.sources.yfcc import layout as yfcc
from imagenet_captions.sources.yfcc.photos import BadRows, Photo, read_photo, shown
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import open_watched

Numbers = npt.NDArray[np.int64]

_BLOCK_BYTES = 8 << 20
_LONGEST_LINE = 64 << 20
_MOST_THREADS = 4
_TAB, _NEWLINE = 9, 10


def read_lines(path: Place, wanted: Numbers, bad: BadRows, name: str = "") -> Iterator[Photo]:
    """Yield the photos with these numbers (sorted) in the order of the file; unreadable lines go to `bad`.

    The first block decides the layout of the whole file. Otherwise a line that lost two of its 25 fields would be read
    as one of 23, with its line number as the photo's id.
    """
    blocks = _whole_lines(path)
    first = next(blocks, None)
    if first is None:
        raise InputError(f"{path} is empty; give YFCC100M's metadata")
    layout = _layout(_find_lines(first))
    if layout is None:
        raise InputError(
            f"{path} is not YFCC100M's metadata: no line has 25 or 23 fields between tabs, with a photo's id "
            "among them; give yfcc100m_dataset, plain or as .bz2 or .gz, or yfcc100m_dataset.sql"
        )
    before = 0
    search = partial(_search, layout, WantedNumbers(wanted))
    for part in engine.run(search, chain([first], blocks), min(engine.default_workers(), _MOST_THREADS), threads=True):
        for line, text in part.unreadable:
            bad.add(f"{name}line {before + line + 1}", text)
        bad.count += part.more_unreadable
        for line, text in part.found:
            photo = read_photo(yfcc.named(text.split("\t")))
            if isinstance(photo, Photo):
                yield photo
            else:
                bad.add(f"{name}line {before + line + 1}", photo)
        before += part.lines


class WantedNumbers:
    """The sorted photo numbers to look for; expects few hits."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._marks = np.zeros(1 << 23, np.bool_)  # the last bits of the wanted numbers; they spare most searches
        self._marks[self._ends(numbers)] = True

    def positions(self, numbers: Numbers) -> Numbers:
        """Return the positions in `numbers` of those that are wanted."""
        likely = np.flatnonzero(self._marks[self._ends(numbers)])
        if not len(likely):
            return likely
        at = np.minimum(np.searchsorted(self._numbers, numbers[likely]), len(self._numbers) - 1)
        found: Numbers = likely[self._numbers[at] == numbers[likely]]
        return found

    def _ends(self, numbers: Numbers) -> Numbers:
        return np.bitwise_and(numbers, len(self._marks) - 1)


class _Part(NamedTuple):
    """The content of one block; lines are counted from its start."""

    lines: int
    found: list[tuple[int, str]]
    unreadable: list[tuple[int, str]]
    more_unreadable: int


def _search(layout: yfcc.Layout, wanted: WantedNumbers, block: bytes) -> _Part:
    lines = _find_lines(block)
    numbers = lines.numbers(layout)
    odd = np.flatnonzero((numbers == 0) & ~lines.blank)
    return _Part(
        len(lines.starts),
        [(line, lines.text(line)) for line in wanted.positions(numbers).tolist()],
        [(line, shown(lines.text(line))) for line in odd[:MOST_LISTED].tolist()],
        max(len(odd) - MOST_LISTED, 0),
    )


class _Lines(NamedTuple):
    """A block of whole lines, with the positions of its separators."""

    block: bytes
    separators: Numbers  # positions of tabs and newlines
    newlines: Numbers  # which of the separators are newlines
    starts: Numbers
    ends: Numbers

    @property
    def blank(self) -> npt.NDArray[np.bool_]:
        """Return a mask of the empty lines."""
        first = np.frombuffer(self.block, np.uint8)[self.starts]
        length = self.ends - self.starts
        empty: npt.NDArray[np.bool_] = (length == 0) | ((length == 1) & (first == ord("\r")))
        return empty

    def text(self, line: int) -> str:
        """Return a line without its line end."""
        return self.block[self.starts[line] : self.ends[line]].decode("utf-8", "replace").removesuffix("\r")

    def numbers(self, layout: yfcc.Layout) -> Numbers:
        """Return the photo's id in each line; 0 for a line that does not have this layout."""
        first = np.append(0, self.newlines[:-1] + 1)  # each line's first separator
        fits = np.flatnonzero(self.newlines - first == layout.fields - 1)
        end = self.separators[first[fits] + layout.photo_id]
        start = self.starts[fits] if layout.photo_id == 0 else self.separators[first[fits] + layout.photo_id - 1] + 1
        numbers = np.zeros(len(self.starts), np.int64)
        numbers[fits] = _parse(np.frombuffer(self.block, np.uint8), start, end)
        return numbers


def _find_lines(block: bytes) -> _Lines:
    data = np.frombuffer(block, np.uint8)
    separators = np.flatnonzero(data <= _NEWLINE)
    kinds = data[separators]
    if kinds.min() < _TAB:  # other control characters
        separators = separators[kinds >= _TAB]
        kinds = data[separators]
    newlines = np.flatnonzero(kinds == _NEWLINE)
    ends = separators[newlines]
    return _Lines(block, separators, newlines, np.append(0, ends[:-1] + 1), ends)


def _parse(data: npt.NDArray[np.uint8], start: Numbers, end: Numbers) -> Numbers:
    """Return the decimal numbers between these positions; 0 for other texts, leading zeros and too many digits."""
    length = end - start
    good = (length >= 1) & (length <= MAX_DIGITS)
    good &= data[np.minimum(start, end - 1)] != ord("0")
    numbers = np.zeros(len(start), np.int64)
    for digit in range(int(length[good].max(initial=0))):
        inside = good & (digit < length)
        digits = data[end[inside] - 1 - digit] - np.uint8(ord("0"))
        good[inside] &= digits <= 9
        numbers[inside] += digits.astype(np.int64) * 10**digit
    numbers[~good] = 0
    return numbers


def _layout(lines: _Lines) -> yfcc.Layout | None:
    counts = {layout: int(np.count_nonzero(lines.numbers(layout))) for layout in yfcc.LAYOUTS}
    best = max(counts, key=lambda layout: counts[layout])
    return best if counts[best] else None


def _whole_lines(path: Place) -> Iterator[bytes]:
    """Yield the file in blocks of whole lines, each line with its newline."""
    with (
        open_watched(path, f"read {path.name}") as raw,
        closing(unpacked(raw)) as stream,
    ):
        rest = b""
        while block := _read(stream, path):
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
                rest = block[end:]
            else:
                rest += block
            if len(rest) > _LONGEST_LINE:
                raise InputError(f"{path} is not YFCC100M's metadata: it has a line of over 64 MB; check the file")
        if rest:
            yield rest + b"\n"


def unpacked(raw: IO[bytes]) -> IO[bytes]:
    """Return the unpacked stream of a file; its first bytes tell the compression."""
    start = raw.read(3)
    raw.seek(0)
    if start == b"BZh":
        return bz2.open(raw, "rb")
    if start[:2] == b"\x1f\x8b":
        return gzip.open(raw, "rb")  # type: ignore[return-value]
    return raw


def _read(stream: IO[bytes], path: Place) -> bytes:
    try:
        return stream.read(_BLOCK_BYTES)
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); download it again") from None
    except OSError as error:
        if error.errno is not None:  # an error of the disk, not of the file
            raise
        raise InputError(f"{path} is damaged ({error}); download it again") from None
