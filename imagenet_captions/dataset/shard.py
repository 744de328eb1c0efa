"""Writing a Parquet shard of a dataset: it is hashed while it is written, and its values are counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagenet_captions.storage.files import replacing
from imagenet_captions.storage.parquet import COMPRESSION, COMPRESSION_LEVEL
from imagenet_captions.storage.places import Place

TEXTS = frozenset({"title", "description", "caption", "tags"})
# Columns whose values repeat within a class. For others a dictionary would be built and then dropped.
_REPEATING = frozenset({
    "wnid", "label", "class_name", "tags", "language", "owner", "owner_name", "license", "source",
    "mentions",
})  # fmt: skip
_BYTES = "image.bytes"
_PAGE_ROWS = 16  # rows between two checks of a page's size; with images, a whole row group would otherwise be one page


@dataclass
class ShardFile:
    """A written shard and the counts of its values."""

    name: str  # data/train-00000-of-00012.parquet
    sha256: str = ""
    bytes: int = 0
    rows: int = 0
    images: int = 0
    filled: Counter[str] = field(default_factory=Counter)  # column → rows in which it is neither empty nor false
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    wnids: Counter[str] = field(default_factory=Counter)
    licenses: Counter[int] = field(default_factory=Counter)
    captions: list[npt.NDArray[np.uint64]] = field(default_factory=list)  # a hash of each caption that is not empty
    columns: dict[str, str] = field(default_factory=dict)  # name → Arrow type
    retrieved: set[str] = field(default_factory=set)  # the first and the last day of each row group

    def count(self, table: pa.Table) -> None:
        """Add the counts of a row group."""
        self.rows += len(table)
        for name in table.column_names:
            column = table[name]
            if name == "image":
                self.images += len(column) - column.null_count
            elif pa.types.is_string(column.type):
                self.filled[name] += pc.sum(pc.not_equal(column, "")).as_py() or 0
            elif pa.types.is_list(column.type):
                self.filled[name] += pc.sum(pc.greater(pc.list_value_length(column), 0)).as_py() or 0
            elif pa.types.is_boolean(column.type):
                self.filled[name] += pc.sum(column).as_py() or 0
            else:
                self.filled[name] += len(column) - column.null_count
        if "retrieved_at" in table.column_names:
            bounds = pc.min_max(table["retrieved_at"]).as_py().values()
            self.retrieved |= {moment.date().isoformat() for moment in bounds if moment is not None}
        if "caption" in table.column_names:
            captions = table["caption"].filter(pc.not_equal(table["caption"], ""))
            self.captions.append(text_hashes(captions))
        counters: list[tuple[str, Counter[Any]]] = [("language", self.languages), ("source", self.sources)]
        for name, counter in [*counters, ("wnid", self.wnids), ("license", self.licenses)]:
            if name in table.column_names:
                for entry in table[name].value_counts().to_pylist():
                    if entry["values"] is not None:
                        counter[entry["values"]] += entry["counts"]


def text_hashes(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each text."""
    from pandas.util import hash_array  # readers of a dataset need not wait for its import

    hashes: npt.NDArray[np.uint64] = hash_array(np.asarray(texts, object), categorize=False)
    return hashes


class ShardWriter:
    """An open shard; each table written becomes one row group."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, file: ShardFile) -> None:
        self._writer = writer
        self._schema = schema
        self.file = file

    def write(self, table: pa.Table) -> None:
        """Write a table as a row group; nothing is written for a table without rows."""
        if len(table):
            self._writer.write_table(table.cast(self._schema), row_group_size=len(table))
            self.file.count(table)


@contextmanager
def open_shard(folder: Place, name: str, schema: pa.Schema) -> Iterator[ShardWriter]:
    """Yield a writer of the shard `name` in `folder`; its `file` is complete after the block."""
    file = ShardFile(name, columns={field.name: str(field.type) for field in schema})
    with replacing(folder / name, alone=False) as path, path.open("wb") as opened:
        hashing = Hashing(opened)
        with pq.ParquetWriter(hashing, schema, **_layout(schema)) as writer:
            yield ShardWriter(writer, schema, file)
    file.sha256, file.bytes = hashing.hexdigest(), hashing.tell()
    pa.default_memory_pool().release_unused()  # otherwise unused memory grows from shard to shard


def shard_name(raw: bool, number: int, count: int) -> str:
    """Return the name of a shard, in the form that `load_dataset` and the hub expect.

    >>> shard_name(False, 0, 12)
    'data/train-00000-of-00012.parquet'
    """
    return f"{'raw' if raw else 'data'}/train-{number:05d}-of-{count:05d}.parquet"


def _layout(schema: pa.Schema) -> dict[str, object]:
    """Return the settings of the columns: texts are compressed, images are not, and statistics serve filters."""
    leaves = {leaf: field.name for field in schema for leaf in _leaves(field)}
    images = "image" in schema.names
    return {
        "compression": {leaf: "NONE" if leaf == _BYTES else COMPRESSION for leaf in leaves},
        "compression_level": COMPRESSION_LEVEL and {leaf: COMPRESSION_LEVEL for leaf in leaves if leaf != _BYTES},
        "use_dictionary": [leaf for leaf, name in leaves.items() if name in _REPEATING],
        "write_statistics": [leaf for leaf, name in leaves.items() if name != "image" and name not in TEXTS],
        "write_page_index": True,
        **({"write_batch_size": _PAGE_ROWS} if images else {}),
    }


def _leaves(field: pa.Field) -> list[str]:
    if pa.types.is_struct(field.type):
        return [f"{field.name}.{field.type.field(at).name}" for at in range(field.type.num_fields)]
    return [f"{field.name}.list.element"] if pa.types.is_list(field.type) else [field.name]


class Hashing:
    """A writable file that computes the SHA-256 of its bytes, so that the file is not read again."""

    closed = False

    def __init__(self, opened: BinaryIO) -> None:
        self._opened = opened
        self._digest = hashlib.sha256()
        self._at = 0

    def write(self, data: bytes) -> int:
        self._digest.update(data)
        self._opened.write(data)
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        self._opened.flush()

    def close(self) -> None:
        self.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def hexdigest(self) -> str:
        return self._digest.hexdigest()
