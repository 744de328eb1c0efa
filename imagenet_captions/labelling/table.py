"""Tables of captions that can be labeled, in the forms in which people keep them.

A form is an object with a schema and batches; a new one needs a class and a line in `open_table`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.images.readers.separated import SeparatedTable
from imagenet_captions.labelling.tars import TarTable
from imagenet_captions.labelling.yfcc import YfccTable, is_yfcc
from imagenet_captions.storage.files import require_there
from imagenet_captions.storage.parquet import read_files, read_metadata, read_schema
from imagenet_captions.storage.patterns import expand_pattern
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

_IMAGE = "image"


class CaptionTable(Protocol):
    """Rows of texts with any other columns."""

    schema: pa.Schema
    skipped: Counter[str]  # entries that are not rows, by reason; complete once `batches` is used up

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of the schema with at most so many rows, in the order of the table."""
        ...


def open_table(path: Place) -> CaptionTable:
    """Open a Parquet file, a CSV or TSV file, WebDataset tars, or YFCC100M's metadata.

    A folder stands for all Parquet files or all tars in it, in the order of their names; in one of our datasets, for
    those in `data/`.
    """
    files = expand_pattern(path) or [require_there(path, "the table")]
    if path.is_dir():
        return _open_folder(path)
    name = path.name.lower()
    if name.endswith(".parquet"):
        return ParquetTable(files)
    if name.endswith(".tar"):
        return TarTable(files)
    if is_yfcc(path):
        return YfccTable(path)
    if name.endswith((".csv", ".tsv", ".txt")):
        return SeparatedTable(path)
    raise InputError(
        f"{path} is not a table that can be read; give .parquet, .csv, .tsv, WebDataset .tar files or a folder of "
        "them, or YFCC100M's metadata"
    )


def _open_folder(folder: Place) -> CaptionTable:
    inside = folder / "data" if (folder / "data").is_dir() else folder
    if parquet := sorted([*inside.glob("*.parquet")]):
        return ParquetTable(parquet)
    if tars := sorted([*inside.glob("*.tar")]):
        return TarTable(tars)
    raise InputError(f"there is no .parquet and no .tar file in {inside}; give the folder that holds them")


class ParquetTable:
    """Parquet files of one schema, without a column `image`; a labeled table is joined with images by its key."""

    def __init__(self, paths: list[Place]) -> None:
        self._paths = paths
        self.skipped: Counter[str] = Counter()
        self.schema = _schema(paths[0])
        for path in paths[1:]:
            if not _schema(path).equals(self.schema):
                raise InputError(f"{path} has other columns than {paths[0]}; label them one by one")

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of all files."""
        total = sum(read_metadata(path).num_rows for path in self._paths)
        with progress("label", total, "rows") as bar:
            for batch in read_files(self._paths, rows, self.schema.names):
                columns = [batch[field.name].cast(field.type) for field in self.schema]
                yield pa.RecordBatch.from_arrays(columns, schema=self.schema)
                bar.update(len(batch))


def _schema(path: Place) -> pa.Schema:
    return pa.schema([field.with_type(_plain(field.type)) for field in read_schema(path) if field.name != _IMAGE])


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type with every text as `string`."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        return pa.list_(_plain(kind.value_type))
    return pa.string() if pa.types.is_large_string(kind) else kind
