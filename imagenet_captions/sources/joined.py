"""Two sources as one: what the first has, and from the second the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from imagenet_captions.schema import RawSource


class WithPhotos(RawSource, Protocol):
    """A source that can tell which photos it has."""

    def photo_ids(self) -> pa.Array:
        """The photos that no other source needs to have, once `batches` is used up."""
        ...


class JoinedSource:
    """A `RawSource` of two; the second, which reads `files`, is made when it is known which photos the first has."""

    def __init__(self, first: WithPhotos, rest: Callable[[pa.Array], RawSource], files: Sequence[Path] = ()) -> None:
        self._first, self._make_rest, self._files = first, rest, files
        self._rest: RawSource | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the RAW batches of the first, then of the second."""
        yield from self._first.batches()
        yield from self._made().batches()

    def drops(self) -> Iterator[pa.RecordBatch]:
        """Yield the drops of both."""
        yield from self._first.drops()
        yield from self._made().drops()

    def files(self) -> list[Path]:
        """The files that both read."""
        return [*self._first.files(), *self._files]

    def inputs(self) -> dict[str, str]:
        """The digests of both."""
        return {**self._first.inputs(), **self._made().inputs()}

    def _made(self) -> RawSource:
        if self._rest is None:
            self._rest = self._make_rest(self._first.photo_ids())
        return self._rest
