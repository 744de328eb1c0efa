"""Join two sources of raw records: the second gives the photos that the first lacks. Used by `build`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from imagenet_captions.schema import RawSource
from imagenet_captions.sources.yfcc.source import YfccSource
from imagenet_captions.storage.places import Place


class JoinedSource:
    """A `RawSource` of two; `rest` makes the second, which reads `files`, from the photos of the first."""

    def __init__(self, first: YfccSource, rest: Callable[[pa.Array], RawSource], files: Sequence[Place]) -> None:
        self._first, self._make_rest, self._files = first, rest, files
        self._rest: RawSource | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the RAW batches of both, in order."""
        yield from self._first.batches()
        yield from self._made().batches()

    def drops(self) -> Iterator[pa.RecordBatch]:
        """Yield the drops of both."""
        yield from self._first.drops()
        yield from self._made().drops()

    def files(self) -> list[Place]:
        """Return the files that both read."""
        return [*self._first.files(), *self._files]

    def inputs(self) -> dict[str, str]:
        """Return the digests of both."""
        return {**self._first.inputs(), **self._made().inputs()}

    def measured(self) -> dict[str, Any]:
        """Return what both counted."""
        return {**self._first.measured(), **self._made().measured()}

    def _made(self) -> RawSource:
        if self._rest is None:
            self._rest = self._make_rest(self._first.photo_ids())
        return self._rest
