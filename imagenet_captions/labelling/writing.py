"""Writers of labeled tables as Parquet, CSV or TSV, chosen by the ending of the file's name."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.storage.parquet import open_parquet_writer
from imagenet_captions.storage.places import Place

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_BETWEEN = "|"  # values of a list in one field of a CSV file; no wnid and no class's name has it
_LINE_ENDS = str.maketrans(dict.fromkeys("\r\n\t\0", " "))


class Writer(Protocol):
    """Takes batches of one schema."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write its rows."""
        ...


def check_name(out: Place) -> None:
    """Raise InputError for a name without one of the known endings."""
    if out.suffix.lower() not in {".parquet", *_SEPARATORS}:
        raise InputError(f"`out` {out} should end in .parquet, .csv or .tsv, which says how to write it")


@contextmanager
def open_writer(path: Path, ending: str, schema: pa.Schema) -> Iterator[Writer]:
    """Open a writer to a new file."""
    if ending == ".parquet":
        with open_parquet_writer(path, schema) as writer:
            yield writer
        return
    with path.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened, delimiter=_SEPARATORS[ending], lineterminator="\n")
        rows.writerow(schema.names)
        yield _Separated(rows)


class _Separated:
    def __init__(self, rows: Any) -> None:
        self._rows = rows

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [[_field(value) for value in column.to_pylist()] for column in batch.columns]
        self._rows.writerows(zip(*columns, strict=True))


def _field(value: Any) -> str:
    """Return a value as one field, with blanks for line ends and tabs, where many readers break a quoted field."""
    if isinstance(value, list):
        return _BETWEEN.join(map(_field, value))
    return "" if value is None else str(value).translate(_LINE_ENDS)
