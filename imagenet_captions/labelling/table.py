"""Tables of captions that can be labeled, in the forms in which people keep them.

A form is an object with a schema and batches; a new one needs a class and a line in `open_table`.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from itertools import chain
from typing import Any, Protocol

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError
from imagenet_captions.images.tables import SeparatedTable
from imagenet_captions.images.tars import Sample, TarReader, json_object, read_samples
from imagenet_captions.sources import yfcc
from imagenet_captions.storage.files import require_there
from imagenet_captions.storage.parquet import read_files, read_metadata, read_schema
from imagenet_captions.storage.places import Place, expand_pattern
from imagenet_captions.storage.progress import progress, track
from imagenet_captions.storage.texts import read_blocks, unpacked

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
    name = path.name.lower()
    if path.is_dir():
        inside = path / "data" if (path / "data").is_dir() else path
        files = sorted(inside.glob("*.parquet")) or sorted(inside.glob("*.tar"))
        if not files:
            raise InputError(f"{inside} has no .parquet and no .tar file; give the folder that holds them")
        name = files[0].name
    if name.endswith(".parquet"):
        return ParquetTable(files)
    if name.endswith(".tar"):
        return TarTable(files)
    if _is_yfcc(path):
        return YfccTable(path)
    if name.endswith((".csv", ".tsv", ".txt")):
        return SeparatedTable(path)
    raise InputError(
        f"{path} is not a table that can be read; give .parquet, .csv, .tsv, WebDataset .tar files or a folder of "
        "them, or YFCC100M's metadata"
    )


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


_TEXTS = ("title", "description", "caption")
_MEMBERS = frozenset({"txt", "json", "cls"})
_LARGEST_MEMBER = 16 << 20


class TarTable:
    """One row a sample: its key and tar, its .txt, the known fields of its .json, its .cls.

    The labeled result is a table by `__key__`, since tars with new .cls members would repeat all images.
    """

    schema = pa.schema(
        [
            pa.field("__key__", pa.string()),
            pa.field("__tar__", pa.string()),
            pa.field("txt", pa.string()),
            *[pa.field(name, pa.string()) for name in _TEXTS],
            pa.field("tags", pa.list_(pa.string())),
            pa.field("wnid", pa.string()),
            pa.field("label", pa.int64()),
        ]
    )

    def __init__(self, paths: list[Place]) -> None:
        self._paths = paths
        self.skipped: Counter[str] = Counter()

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of the samples of all tars, in order; a sample without any text is skipped and counted."""
        samples = chain.from_iterable(map(self._samples, track(self._paths, "read", len(self._paths), "tars")))
        for batch in in_batches(samples, rows):
            yield pa.RecordBatch.from_pylist(batch, schema=self.schema)

    def _samples(self, path: Place) -> Iterator[dict[str, Any]]:
        with TarReader(path) as tar:
            for sample in read_samples(tar, _MEMBERS, _LARGEST_MEMBER):
                said = json_object(sample.contents.get("json", b"{}"))
                if said is None:
                    self.skipped["a .json that is not a JSON object"] += 1
                elif (row := _row(sample, said)) is None:
                    self.skipped["a sample without text"] += 1
                else:
                    yield {"__key__": sample.key, "__tar__": path.name, **row}


def _row(sample: Sample, said: dict[str, Any]) -> dict[str, Any] | None:
    texts = {name: said[name] for name in _TEXTS if isinstance(said.get(name), str)}
    if "txt" in sample.contents:
        texts["txt"] = sample.contents["txt"].decode("utf-8", "replace")
    tags, wnid, label, own = said.get("tags"), said.get("wnid"), said.get("label"), sample.label()
    if not texts and not tags:
        return None
    return {
        **texts,
        "tags": [str(tag) for tag in tags] if isinstance(tags, list) else None,
        "wnid": wnid if isinstance(wnid, str) else None,
        "label": label if own is None and type(label) is int else own,
    }


_COLUMNS = (
    "photo_id", "owner", "owner_name", "date_taken", "title", "description", "tags", "photo_page", "download_url",
    "license_name",
)  # fmt: skip
_FIELDS = frozenset(layout.fields for layout in yfcc.LAYOUTS)
_ENCODED = ("owner_name", "title", "description")


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
        lines = (line for block in read_blocks(self._path, "the table") for line in block.split(b"\n")[:-1])
        for line in lines:
            fields = line.rstrip(b"\r").decode("utf-8", "replace").split("\t")
            if len(fields) not in _FIELDS:
                self.skipped["not a line of 25 or 23 fields"] += 1
            elif (row := yfcc.named(fields))["marker"] == yfcc.VIDEO:
                self.skipped["a video"] += 1
            else:
                encoded = {name: yfcc.decoded(row[name]) for name in _ENCODED}
                yield {name: row[name] for name in _COLUMNS} | encoded | {"tags": yfcc.decoded_tags(row["tags"])}


def _is_yfcc(path: Place) -> bool:
    """Whether a file's first line has the number of fields of YFCC100M, and a photo's number in its place."""
    with path.open("rb") as plain, closing(unpacked(plain)) as opened:
        try:
            fields = opened.readline(1 << 20).split(b"\t")
        except (OSError, EOFError, zlib.error):  # begins as if it were packed
            return False
    return any(len(fields) == layout.fields and fields[layout.photo_id].isdigit() for layout in yfcc.LAYOUTS)
