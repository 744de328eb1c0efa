"""Captions in CSV and TSV files with a header, such as open_clip's."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.storage.progress import open_watched

_LONGEST_FIELD = 1 << 20  # a quote that is never closed would else take in the rest of the file


class SeparatedTable:
    """A file with a header line. Every column is text; the file says nothing else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()
        with _lines(path) as opened:
            header = opened.readline()
        # open_clip calls its files .csv and separates them by tabs.
        self._separator = "\t" if "\t" in header else ","
        names = next(csv.reader([header], delimiter=self._separator), [])
        if not names or len(set(names)) < len(names):
            raise InputError(f"{path} has no header with a name for each column; add one as its first line")
        self.schema = pa.schema([pa.field(name, pa.string()) for name in names])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches; a line with another number of fields than the header has is skipped and counted."""
        held: list[list[str]] = []
        for row in self._rows():
            if len(row) == len(self.schema):
                held.append(row)
            elif row:
                self.skipped["another number of fields than the header"] += 1
            if len(held) == rows:
                yield self._batch(held)
                held = []
        if held:
            yield self._batch(held)

    def _rows(self) -> Iterator[list[str]]:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            with (
                open_watched(self._path, f"read {self._path.name}") as raw,
                io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as opened,
            ):
                reader = csv.reader((line.replace("\0", "") for line in opened), delimiter=self._separator)
                next(reader)
                yield from reader
        except csv.Error as error:
            raise InputError(
                f"{self._path} cannot be read from line {reader.line_num:,} on ({error}); a quote mark may be open"
            ) from None
        finally:
            csv.field_size_limit(before)

    def _batch(self, rows: list[list[str]]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in zip(*rows, strict=True)],
                                          schema=self.schema)  # fmt: skip


@contextmanager
def _lines(path: Path) -> Iterator[TextIO]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
        yield opened
