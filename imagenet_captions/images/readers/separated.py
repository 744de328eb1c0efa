"""The reader of CSV and TSV files with a header, such as open_clip's, for training and labelling."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from itertools import chain

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import open_watched

_LONGEST_FIELD = 1 << 20  # a quote that is never closed would else take in the rest of the file
_LONGEST_HEADER = 1 << 20
_END = "\x1c\x1d\x1e\x1f"  # put behind the last line; it comes back alone, unless a quote is open


class SeparatedTable:
    """A file with a header line. Every column is text; the file says nothing else.

    `skipped` counts the lines with another number of fields than the header; it is complete once `batches` is used up.
    With `fill`, a line with fewer fields has empty texts in place of the others.
    """

    def __init__(self, path: Place, fill: bool = False) -> None:
        self._path, self._fill = path, fill
        self.skipped: Counter[str] = Counter()
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
            header = opened.readline(_LONGEST_HEADER)
        # open_clip calls its files .csv and separates them by tabs.
        self._separator = "\t" if "\t" in header else ","
        names = next(csv.reader([header], delimiter=self._separator), [])
        if not names or len(set(names)) < len(names):
            raise InputError(f"{path} has no header with a name for each column; add one as its first line")
        self.schema = pa.schema([pa.field(name, pa.string()) for name in names])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most so many rows. Raises InputError for a quote that is never closed."""
        for batch in in_batches(self._whole_rows(), rows):
            columns = [pa.array(column, pa.string()) for column in zip(*batch, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def require_all(self) -> None:
        """Raise InputError if lines were skipped; call it once `batches` is used up."""
        if self.skipped:
            raise InputError(
                f"{self._path} has {self.skipped.total():,} lines with more fields than its header; put captions that "
                "hold the separator in quotes"
            )

    def _whole_rows(self) -> Iterator[list[str]]:
        width = len(self.schema)
        for row in self._rows():
            if self._fill and 0 < len(row) < width:
                row += [""] * (width - len(row))
            if len(row) == width:
                yield row
            elif row:
                self.skipped["another number of fields than the header"] += 1

    def _rows(self) -> Iterator[list[str]]:
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            with (
                open_watched(self._path, f"read {self._path.name}") as raw,
                io.TextIOWrapper(raw, "utf-8-sig", "replace", newline="") as opened,
            ):
                lines = chain((line.replace("\0", "") for line in opened), [_END])
                reader = csv.reader(lines, delimiter=self._separator)
                next(reader)
                start = end = reader.line_num
                for row in reader:
                    if row == [_END]:
                        return
                    yield row
                    start, end = end, reader.line_num
                raise self._open_quote(start, "unexpected end of data")
        except csv.Error as error:
            raise self._open_quote(end, error) from None
        finally:
            csv.field_size_limit(before)

    def _open_quote(self, after: int, fault: object) -> InputError:
        return InputError(f"{self._path} cannot be read from line {after + 1:,} on ({fault}); a quote mark may be open")
