"""Show progress on stderr: a bar with the time left in a terminal, elsewhere one line when the work begins."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, BinaryIO, TypeAlias, TypeVar

from tqdm import tqdm

from imagenet_captions.storage.places import Place

T = TypeVar("T")

log = logging.getLogger(__name__)

_A_MOMENT = 4 << 20  # bytes that are read before anybody wonders
_LARGE = 100_000  # counts of so many are shown in thousands and millions

Bar: TypeAlias = "tqdm[Any]"


@contextmanager
def progress(what: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
    """Give a bar to update while the block runs; without a total it shows no time left, and for a few bytes nothing.

    >>> with progress("package", 891, "rows") as bar:
    ...     _ = bar.update(891)
    """
    in_bytes = unit == "B"
    silent = in_bytes and total is not None and total < _A_MOMENT
    scaled = in_bytes or total is None or total >= _LARGE
    with tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit if in_bytes else f" {unit}",
        unit_scale=scaled,
        disable=True if silent else None,  # None: if stderr is not a terminal
    ) as bar:
        if bar.disable and not silent:
            log.info("%s: %s", what, _amount(total, unit))
        yield bar


def track(items: Iterable[T], what: str, total: int | None, unit: str) -> Iterator[T]:
    """Yield the items, with a bar that counts them.

    >>> list(track([1, 2], "verify", 2, "files"))
    [1, 2]
    """
    with progress(what, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


@contextmanager
def open_watched(path: Place, what: str) -> Iterator[BinaryIO]:
    """Open a file to read its bytes as they are, with a bar for a large one."""
    with path.open("rb") as opened:
        size = path.stat().st_size
        with progress(what, size, "B") as bar:
            yield io.BufferedReader(_Watched(opened, size, bar), 1 << 20)


def _amount(total: int | None, unit: str) -> str:
    if total is None:
        return "..."
    return f"{total / 1e6:,.0f} MB" if unit == "B" else f"{total:,} {unit}"


class _Watched(io.RawIOBase):
    """A file that counts the bytes read from it."""

    def __init__(self, opened: IO[bytes], size: int, bar: Bar) -> None:
        self._opened = opened
        self._size = size
        self._bar = bar

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._opened.read(len(buffer))
        buffer[: len(data)] = data
        self._bar.update(min(len(data), self._size - self._bar.n))  # a zip's end is read twice
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._opened.seek(offset, whence)

    def tell(self) -> int:
        return self._opened.tell()
