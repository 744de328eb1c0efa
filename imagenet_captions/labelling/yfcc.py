"""Captions in YFCC100M's metadata: 25 columns between tabs without a header, plain or .bz2."""

from __future__ import annotations

import bz2
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_plus

import pyarrow as pa

# Where the columns stand in a line of 25; the older file lacks the line number and the hash, and so has 23.
_PLACES = {
    "photo_id": 1, "owner": 3, "owner_name": 4, "date_taken": 5, "title": 8, "description": 9, "tags": 10,
    "photo_page": 15, "download_url": 16, "license_name": 17, "marker": 24,
}  # fmt: skip
_ENCODED = frozenset({"owner_name", "title", "description"})


class YfccTable:
    """The photos of the file with their texts decoded; videos are skipped and counted."""

    schema = pa.schema(
        [
            pa.field(name, pa.list_(pa.string()) if name == "tags" else pa.string())
            for name in _PLACES
            if name != "marker"
        ]
    )

    def __init__(self, path: Path) -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches; a line of another number of fields is skipped and counted."""
        held: list[dict[str, str | list[str]]] = []
        with _opened(self._path) as opened:
            for line in opened:
                fields = line.rstrip(b"\r\n").decode("utf-8", "replace").split("\t")
                if len(fields) not in (25, 23):
                    self.skipped["not a line of 25 or 23 fields"] += 1
                    continue
                row = _row(fields)
                if row.pop("marker") == "1":
                    self.skipped["a video"] += 1
                    continue
                held.append(row)
                if len(held) == rows:
                    yield pa.RecordBatch.from_pylist(held, schema=self.schema)
                    held = []
        if held:
            yield pa.RecordBatch.from_pylist(held, schema=self.schema)


def is_yfcc(path: Path) -> bool:
    """Whether a file's first line has the number of fields of YFCC100M, and a photo's number in its place."""
    with _opened(path) as opened:
        try:
            fields = opened.readline(1 << 20).split(b"\t")
        except (OSError, EOFError):  # called .bz2, but is none
            return False
    return (len(fields) == 25 and fields[1].isdigit()) or (len(fields) == 23 and fields[0].isdigit())


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as plain:
        if path.name.lower().endswith(".bz2"):
            with bz2.BZ2File(plain) as unpacked:
                yield unpacked  # type: ignore[misc]  # reads as a BinaryIO does
        else:
            yield plain


def _row(fields: list[str]) -> dict[str, str | list[str]]:
    if len(fields) == 23:
        fields = ["", fields[0], "", *fields[1:]]
    row: dict[str, str | list[str]] = {}
    for name, place in _PLACES.items():
        value = fields[place]
        if name == "tags":
            row[name] = [_decoded(tag) for tag in value.split(",") if tag]
        else:
            row[name] = _decoded(value) if name in _ENCODED else value
    return row


def _decoded(value: str) -> str:
    return unquote_plus(value, errors="replace")
