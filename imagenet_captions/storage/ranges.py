"""A seekable file object for a file behind a URL, by requests for ranges of its bytes."""

from __future__ import annotations

import io
from collections.abc import Callable

from imagenet_captions.errors import InputError

_FIRST, _LARGEST = 1 << 16, 8 << 20


class Ranges(io.RawIOBase):
    """A raw file that reads through `fetch(start, stop)`.

    When it is read in order, or with short jumps ahead as in a tar, each request is twice as large as the one before,
    from 64 kB up to 8 MB: the head of a file costs little, and the whole of it few requests. With `exact` it requests
    only what is asked for, which suits Parquet, whose reader knows what it needs.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, name: str, exact: bool = False) -> None:
        self.name = name
        self._fetch = fetch
        self._size = size
        self._exact = exact
        self._at = 0
        self._window = (0, b"")
        self._next = _FIRST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def size(self) -> int:
        """Return the size of the whole file in bytes."""
        return self._size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset)
        return self._at

    def readall(self) -> bytes:
        return self.read(self._size - self._at)

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = self._size - self._at
        size = min(size, self._size - self._at)
        if size <= 0:
            return b""
        data = self._ranged(self._at, self._at + size) if self._exact else self._windowed(size)
        self._at += len(data)
        return data

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]  # as BufferedReader calls it
        data = self.read(len(target))
        target[: len(data)] = data
        return len(data)

    def _windowed(self, size: int) -> bytes:
        start, held = self._window
        if not start <= self._at < start + len(held):
            near = 0 <= self._at - start - len(held) <= _LARGEST
            self._next = min(2 * self._next, _LARGEST) if near and held else _FIRST
            stop = min(self._size, self._at + max(size, self._next))
            start, held = self._window = (self._at, self._ranged(self._at, stop))
        return held[self._at - start : self._at - start + size]

    def _ranged(self, start: int, stop: int) -> bytes:
        data = self._fetch(start, stop)
        if len(data) != stop - start:
            raise InputError(
                f"{self.name} gave {len(data):,} bytes where {stop - start:,} were asked for: it changed while it was "
                "read, or its server does not give parts of a file; download it first if that happens again"
            )
        return data
