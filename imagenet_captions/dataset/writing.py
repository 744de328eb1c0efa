"""Write a dataset folder: its schema, how rows are cut into shards and row groups, the shards, and the manifest."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_captions.dataset.card import card
from imagenet_captions.dataset.croissant import croissant
from imagenet_captions.dataset.facts import DatasetFacts, Origin, ShardFile, count_shards
from imagenet_captions.dataset.outcomes import read_outcome_counts
from imagenet_captions.dataset.shards import FileEntry, Manifest
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.storage.files import (
    CARD,
    CROISSANT,
    checked,
    parse_json,
    replacing,
    sha256,
    write_json,
    write_text,
)
from imagenet_captions.storage.parquet import (
    COMPRESSION,
    COMPRESSION_LEVEL,
    FEW_SHARDS,
    GROUP_BYTES,
    SHARD_BYTES,
    SHUFFLED_SHARDS,
    SMALL_SHARD,
    read_metadata,
)
from imagenet_captions.storage.places import Place

IMAGE = pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))


def dataset_schema(row: pa.Schema, images: bool, among: ClassSet = ClassSet.ILSVRC2012) -> pa.Schema:
    """Return the schema of a dataset's files for rows of `schema.ROW` or `schema.RAW_ROW`, with or without images.

    `datasets` uses the metadata of a column only if its Arrow field is the one that `datasets` itself would write:
    nullable, and of a type that Parquet keeps. So every column is nullable (otherwise the label would load as a plain
    number), and times are in milliseconds (Parquet has no seconds).
    """
    fields = [pa.field(field.name, _stored(field.type)) for field in row]
    if images:
        fields.append(IMAGE)
    features = {field.name: _feature(field, among) for field in fields}
    # The oldest form, which every version reads: `{"_type": "List"}` fails before datasets 4.
    return pa.schema(fields, metadata={b"huggingface": json.dumps({"info": {"features": features}}).encode()})


def with_local_labels(schema: pa.Schema, wnids: Sequence[str]) -> pa.Schema:
    """Return the schema with `label` counted over these classes only, and the former label as `label_original`."""
    features = _features(schema)
    if "label_original" not in schema.names:
        schema = schema.insert(schema.get_field_index("label") + 1, pa.field("label_original", pa.int64()))
        features["label_original"] = features["label"]
    features["label"] = {"names": sorted(wnids), "_type": "ClassLabel"}
    ordered = {name: features[name] for name in schema.names}
    return schema.with_metadata({b"huggingface": json.dumps({"info": {"features": ordered}}).encode()})


def without_images(schema: pa.Schema) -> pa.Schema:
    """Return the schema without the column of images."""
    features = _features(schema)
    kept = pa.schema([field for field in schema if field.name != IMAGE.name])
    ordered = {name: features[name] for name in kept.names}
    return kept.with_metadata({b"huggingface": json.dumps({"info": {"features": ordered}}).encode()})


def local_labels(schema: pa.Schema) -> list[str] | None:
    """Return the classes given to `with_local_labels`; None for a dataset that has ImageNet's labels."""
    if "label_original" not in schema.names:
        return None
    return checked(_features(schema).get("label"), _ClassLabel, _WHERE).names


_WHERE = "the metadata for datasets in the shards"


class _Info(msgspec.Struct):
    features: dict[str, Any]


class _Notes(msgspec.Struct):
    info: _Info


class _ClassLabel(msgspec.Struct):
    names: list[str]


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Return what the metadata of shards says of their columns; raises InputError if it does not know them."""
    features = parse_json((schema.metadata or {}).get(b"huggingface", b"null"), _Notes, _WHERE).info.features
    if lacking := sorted(set(schema.names) - set(features)):
        raise InputError(f"{_WHERE} has no {lacking[0]}; package the dataset again")
    return features


def _stored(kind: pa.DataType) -> pa.DataType:
    return pa.timestamp("ms", kind.tz) if pa.types.is_timestamp(kind) else kind


def _feature(field: pa.Field, among: ClassSet) -> Any:
    if field.name == "label":
        # Names are never keys: "missile" and "sunglasses" are the curated names of two classes each.
        return {"names": list(classes.wnids(among)), "_type": "ClassLabel"}
    if field.name == "image":
        return {"_type": "Image"}
    if pa.types.is_list(field.type):
        return [{"dtype": str(field.type.value_type), "_type": "Value"}]
    return {"dtype": str(field.type), "_type": "Value"}


@dataclass(frozen=True)
class RowGroup:
    """Rows `start` to `stop` of the captions file."""

    start: int
    stop: int
    bytes: int


def plan_groups(wnids: Iterable[str], sizes: Iterable[int], fill: int = 1, most: int = GROUP_BYTES) -> list[RowGroup]:
    """Divide rows, sorted by class, into row groups that end with a class; a very large class fills several.

    A group of fewer than `fill` rows takes another class. With `fill=1` every class has groups of its own, so that a
    filter on a class reads the images of that class only.

    >>> [(g.start, g.stop) for g in plan_groups(["a", "a", "b", "c", "c"], [1, 1, 1, 9, 9], most=10)]
    [(0, 2), (2, 3), (3, 4), (4, 5)]
    >>> [(g.start, g.stop) for g in plan_groups(["a", "a", "b", "c", "c"], [1, 1, 1, 1, 1], fill=3)]
    [(0, 3), (3, 5)]
    """
    groups: list[RowGroup] = []
    start, held, row, before = 0, 0, 0, ""
    for wnid, size in zip(wnids, sizes, strict=True):
        full = wnid != before and row - start >= fill
        if row > start and (full or held + size > most):
            groups.append(RowGroup(start, row, held))
            start, held = row, 0
        held += size
        row, before = row + 1, wnid
    return [*groups, RowGroup(start, row, held)] if row else groups


def plan_shuffled(sizes: Sequence[int], shards: int | None, fill: int | None) -> list[list[RowGroup]]:
    """Divide rows in a seeded order over shards with as many rows each, in groups of `fill` rows if it is given.

    Without `shards` there are 16, or more for shards of about 500 MB.

    >>> [[(g.start, g.stop) for g in shard] for shard in plan_shuffled([1] * 7, shards=2, fill=3)]
    [[(0, 3)], [(3, 6), (6, 7)]]
    """
    count = max(SHUFFLED_SHARDS, round(sum(sizes) / SHARD_BYTES)) if shards is None else shards
    cuts = [len(sizes) * number // count for number in range(count + 1)]
    planned = []
    for start, stop in pairwise(cuts):
        # Every row counts as a class of its own, so that a group ends as soon as it is filled.
        groups = plan_groups(map(str, range(start, stop)), sizes[start:stop], fill or len(sizes))
        planned.append([RowGroup(start + group.start, start + group.stop, group.bytes) for group in groups])
    return [shard for shard in planned if shard]


def plan_shards(groups: Sequence[RowGroup]) -> list[list[RowGroup]]:
    """Distribute row groups over shards of about equal size, 500 MB or a little more each.

    >>> [len(shard) for shard in plan_shards([RowGroup(i, i + 1, 32_000_000) for i in range(10)])]
    [2, 2, 2, 2, 2]
    """
    total = sum(group.bytes for group in groups)
    count = max(1, round(total / SHARD_BYTES), min(FEW_SHARDS, total // SMALL_SHARD))
    shards: list[list[RowGroup]] = [[] for _ in range(count)]
    before = 0
    for group in groups:
        middle = before + group.bytes // 2
        shards[min(count - 1, middle * count // max(1, total))].append(group)
        before += group.bytes
    return [shard for shard in shards if shard] or [[]]


TEXTS = frozenset({"title", "description", "caption", "tags"})
# Columns whose values repeat within a class. For others a dictionary would be built and then dropped.
_REPEATING = frozenset({
    "wnid", "label", "class_name", "tags", "language", "owner", "owner_name", "license", "source",
    "mentions",
})  # fmt: skip
_BYTES = "image.bytes"
_PAGE_ROWS = 16  # rows between two checks of a page's size; with images, a whole row group would otherwise be one page


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


def finish_dataset(
    folder: Place,
    shards: Sequence[ShardFile],
    origin: Origin,
    has_images: bool,
) -> DatasetFacts:
    """Write the card, `croissant.json` and the manifest of a folder that has all its shards and its outcomes."""
    outcomes = folder / OUTCOMES_FILE
    facts = DatasetFacts(
        **count_shards([shard for shard in shards if shard.name.startswith("data/")], has_images),
        funnel=read_outcome_counts(outcomes),
        inputs=origin.inputs,
        settings=origin.settings,
        measured=origin.measured,
        made_with={
            "imagenet-captions": importlib.metadata.version("imagenet-captions"),
            "pyarrow": pa.__version__,
        },
    )
    files = {shard.name: FileEntry(shard.sha256, shard.bytes, shard.rows) for shard in shards}
    files[OUTCOMES_FILE] = _entry(outcomes, read_metadata(outcomes).num_rows)
    write_text(folder / CARD, card(facts))
    write_json(folder / CROISSANT, croissant(facts, shards, files[OUTCOMES_FILE]))
    files |= {name: _entry(folder / name) for name in (CARD, CROISSANT)}
    counts = {outcome.value: count for outcome, count in facts.funnel.items()}
    told = (origin.inputs, origin.settings, counts, facts.images, files, origin.measured)
    Manifest(facts.made_with, *told).write(folder)
    return facts


def _entry(path: Place, rows: int | None = None) -> FileEntry:
    return FileEntry(sha256(path), path.stat().st_size, rows)
