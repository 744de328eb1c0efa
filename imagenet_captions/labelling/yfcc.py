"""The table of captions in YFCC100M's metadata: 25 columns between tabs without a header, plain or .bz2."""

from __future__ import annotations

import bz2
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.sources.yfcc import layout as yfcc
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import open_watched

_COLUMNS = (
    "photo_id", "owner", "owner_name", "date_taken", "title", "description", "tags", "photo_page", "download_url",
    "license_name",
)  # fmt: skip
_FIELDS = frozenset(layout.fields for layout in yfcc.LAYOUTS)
_ENCODED = frozenset({"owner_name", "title", "description"})


class YfccTable:
    """The photos of the file, with decoded texts; videos are skipped and counted."""

    schema = pa.schema([pa.field(name, pa.list_(pa.string()) if name == "tags" else pa.string()) for name in _COLUMNS])

    def __init__(self, path: Place) -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches; a line of another number of fields is skipped and counted."""
        for batch in in_batches(self._rows(), rows):
            yield pa.RecordBatch.from_pylist(batch, schema=self.schema)

    def _rows(self) -> Iterator[dict[str, str | list[str]]]:
        with open_watched(self._path, f"read {self._path.name}") as plain, _unpacked(plain, self._path) as opened:
            for line in opened:
                fields = line.rstrip(b"\r\n").decode("utf-8", "replace").split("\t")
                if len(fields) not in _FIELDS:
                    self.skipped["not a line of 25 or 23 fields"] += 1
                elif (row := yfcc.named(fields))["marker"] == yfcc.VIDEO:
                    self.skipped["a video"] += 1
                else:
                    yield {name: _value(name, row[name]) for name in _COLUMNS}


def is_yfcc(path: Place) -> bool:
    """Whether a file's first line has the number of fields of YFCC100M, and a photo's number in its place."""
    with path.open("rb") as plain, _unpacked(plain, path) as opened:
        try:
            fields = opened.readline(1 << 20).split(b"\t")
        except (OSError, EOFError):  # named .bz2, but not bzip2
            return False
    return any(len(fields) == layout.fields and fields[layout.photo_id].isdigit() for layout in yfcc.LAYOUTS)


@contextmanager
def _unpacked(plain: IO[bytes], path: Place) -> Iterator[IO[bytes]]:
    if path.name.lower().endswith(".bz2"):
        with bz2.BZ2File(plain) as unpacked:
            yield unpacked
    else:
        yield plain


def _value(name: str, value: str) -> str | list[str]:
    if name == "tags":
        return yfcc.decoded_tags(value)
    return yfcc.decoded(value) if name in _ENCODED else value
