"""Examples in Parquet with an image column: our datasets, imagenet-1k, or any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.manifest import read_manifest
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.images.examples.classes_of import Labelled, by_key, by_number, class_of
from imagenet_captions.images.examples.example import Class, Examples, Integers, Reader
from imagenet_captions.images.examples.stored import (
    TEXTS,
    BesideImages,
    CachedImages,
    ColumnImages,
    FileImages,
    TextColumns,
    ids_of,
)
from imagenet_captions.images.readers.parquet import (
    byte_ranges,
    bytes_in,
    find_image_column,
    image_file,
    is_bytes,
    paths_only,
    struct_field,
)
from imagenet_captions.images.readers.parquet_pages import UnreadablePages
from imagenet_captions.storage.outputs import is_dataset
from imagenet_captions.storage.parquet import read_metadata, read_schema, read_table, through_cache
from imagenet_captions.storage.places import Place

_IDS = ("image_id", "__key__", "key")
_LABELS = ("label", "labels", "cls")
_NAMES = ("wnid", "class_name")
_DOMAIN = "domain"
LARGEST_IN_MEMORY = 1 << 30
_RENAMED = {"txt": "caption", "text": "caption"}


def open_parquet(source: Place, files: Sequence[Place]) -> Examples:
    """Return the images of Parquet files with an image column; rows without an image are left out and counted.

    Labels are those of a ClassLabel, or numbers with `class_name` beside them; without numbers the classes are the
    wnids or names found. One of our datasets has all classes of its label column, with or without images.
    """
    schema = _schema(source, files)
    image = _image_column(source, schema)
    table = _without_images(files, schema, image)
    found = _images(files, image)
    beside = _files_beside(files, found)
    kept = np.flatnonzero(np.asarray(found.has) | pc.is_valid(beside).to_numpy(zero_copy_only=False))
    if not len(kept):
        paths = found.paths.drop_null()
        raise paths_only(source, paths[0].as_py()) if len(paths) else InputError(f"no row of {source} has an image")
    if len(kept) < len(table):
        table = table.take(pa.array(kept))
    classes, labels = _labels(table)
    ids = _ids(table, found.paths.take(pa.array(kept)), kept)
    texts = TextColumns({name: table[name] for name in TEXTS if name in table.column_names})
    left_out = len(found.has) - len(kept)
    stored = kept[np.asarray(found.has)[kept]]
    images = found.images(stored)
    if len(stored) < len(kept):
        images = BesideImages(images, beside.take(pa.array(kept)))
    return Examples(source, classes, labels, ids, images, texts, left_out, _domains(table))


def _schema(source: Place, files: Sequence[Place]) -> pa.Schema:
    schemas: list[pa.Schema] = []
    for file in files:
        schemas.append(read_schema(file))
        if schemas[-1].names != schemas[0].names:
            raise InputError(f"{file} has other columns than {files[0]}; give the files of one table")
    return schemas[0]


def _image_column(source: Place, schema: pa.Schema) -> str:
    if (column := find_image_column(schema, source)) is not None:
        return column
    for name in ("image", *sorted(suffix[1:] for suffix in IMAGE_SUFFIXES)):
        if name in schema.names and is_bytes(schema.field(name).type):
            return name
    if is_dataset(source):
        raise _texts_only(source)
    raise InputError(f"{source} has no column of images (bytes, or bytes and path); it has {', '.join(schema.names)}")


def _texts_only(dataset: Place) -> InputError:
    """Build the error for a dataset without images, which says how this one gets them."""
    steps = read_manifest(dataset).settings.get("filter", [])
    advice = "build or package it again with `images`"
    if any("without-images" in step for step in steps):
        advice = "filter again and leave out `without_images`"
    elif steps:
        advice = "it was filtered from a dataset without images: make that one again with `images`, and filter it"
    return InputError(f"{dataset} holds texts without images; {advice}")


def _without_images(files: Sequence[Place], schema: pa.Schema, image: str) -> pa.Table:
    known = (*_IDS, *_LABELS, *_NAMES, *TEXTS, *_RENAMED, _DOMAIN)
    wanted = [name for name in known if name in schema.names and name != image]
    if not wanted:  # a table without columns has no rows
        return pa.table({"row": pa.nulls(sum(read_metadata(file).num_rows for file in files))})
    parts = [read_table(file, wanted) for file in files]
    table = pa.concat_tables([part.replace_schema_metadata() for part in parts])
    names = [
        _RENAMED[name] if name in _RENAMED and _RENAMED[name] not in table.column_names else name
        for name in table.column_names
    ]
    return table.rename_columns(names).replace_schema_metadata(schema.metadata)


def _domains(table: pa.Table) -> list[str] | None:
    if _DOMAIN not in table.column_names:
        return None
    names: list[str] = pc.fill_null(table[_DOMAIN].cast(pa.string()), "").to_pylist()
    return names


def _ids(table: pa.Table, paths: pa.Array, kept: Any) -> pa.Array:
    for name in _IDS:
        if name in table.column_names:
            return ids_of(table[name].cast(pa.string()))
    if paths.null_count == 0:
        return ids_of(paths)
    return pa.array([f"{row:08d}" for row in kept.tolist()], pa.string())


def _labels(table: pa.Table) -> Labelled:
    numbers = next((name for name in _LABELS if name in table.column_names), None)
    keys = next((name for name in _NAMES if name in table.column_names), None)
    if numbers is not None and pa.types.is_integer(table[numbers].type):
        names = _class_label(table.schema, numbers)
        classes, labels = by_number(table[numbers], names)
        if names is None and classes is not None and keys is not None:
            classes = _named_beside(labels, table[keys], len(classes))
        return classes, labels
    if keys is not None or numbers is not None:
        return by_key(table[keys or numbers].cast(pa.string()))
    return by_number(pa.nulls(len(table), pa.int64()), None)


def _named_beside(labels: Integers, keys: pa.ChunkedArray, count: int) -> tuple[Class, ...]:
    """Return the class of every label: that of the first key beside it, or else the number itself."""
    numbers, first = np.unique(labels, return_index=True)
    beside = dict(zip(numbers.tolist(), keys.take(pa.array(first)).to_pylist(), strict=True))
    return tuple(class_of(beside.get(label) or str(label)) for label in range(count))


def _class_label(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the names of a ClassLabel from the schema's metadata, which `datasets` writes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = features[column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return list(map(str, names)) if isinstance(names, list) else None


@dataclass(frozen=True)
class _Found:
    """Which rows have an image, the names of the images, and a function from rows with an image to their reader."""

    has: pa.Array
    paths: pa.Array
    images: Callable[[Integers], Reader[bytes]]


def _images(files: Sequence[Place], image: str) -> _Found:
    """Return images in place if the files store them uncompressed, else in memory or the cache of `datasets`."""
    try:
        return in_place(files, image)
    except (UnreadablePages, IndexError, KeyError):
        pass
    if sum(_uncompressed(file, image) for file in files) <= LARGEST_IN_MEMORY:
        column = pa.chunked_array([c for file in files for c in read_table(file, [image])[image].chunks])
        images: Callable[[Integers], Reader[bytes]] = partial(ColumnImages, bytes_in(column))
    else:
        cached = through_cache(files, [image])
        column = cached.data[image]
        images = partial(CachedImages, cached)
    paths = pa.nulls(len(column), pa.string())
    if pa.types.is_struct(column.type) and column.type.get_field_index("path") >= 0:
        paths = struct_field(column, "path").cast(pa.string()).combine_chunks()
    return _Found(bytes_in(column).is_valid().combine_chunks(), paths, images)


def _files_beside(files: Sequence[Place], found: _Found) -> pa.Array:
    """Return the image files that rows without bytes name, null for all other rows."""
    beside: list[str | None] = [None] * len(found.has)
    start = 0
    for file in files:
        stop = start + read_metadata(file).num_rows
        lacking = pc.and_not(found.paths[start:stop].is_valid(), found.has[start:stop])
        for row in np.flatnonzero(lacking.to_numpy(zero_copy_only=False)).tolist():
            there = image_file(file, found.paths[start + row].as_py())
            beside[start + row] = None if there is None else str(there)
        start = stop
    return pa.array(beside, pa.string())


def _uncompressed(file: Place, image: str) -> int:
    metadata = read_metadata(file)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(at) for group in groups for at in range(metadata.num_columns)]
    return sum(column.total_uncompressed_size for column in columns if column.path_in_schema.split(".")[0] == image)


def in_place(files: Sequence[Place], image: str) -> _Found:
    """Where the images lie in files that have them uncompressed; UnreadablePages for others.

    Copying ImageNet's 51 GB of captioned images into a cache, to read them in another order, is what this spares.
    """
    has, paths, number, offsets, sizes = [], [], [], [], []
    for at, file in enumerate(files):
        places = byte_ranges(file, f"{image}.bytes")
        column = read_table(file, [f"{image}.path"])[image]
        path = struct_field(column, "path")
        has += path.is_valid().chunks
        paths += path.chunks
        if pc.sum(path.is_valid()).as_py() != len(places):
            raise UnreadablePages  # an image without a name: which row it is of is not known
        number.append(np.full(len(places), at, np.int32))
        offsets.append(places[:, 0])
        sizes.append(places[:, 1])
    images = FileImages(
        pa.array(map(str, files), pa.string()),
        np.concatenate(number),
        np.concatenate(offsets),
        np.concatenate(sizes),
    )
    return _Found(
        pa.chunked_array(has, pa.bool_()).combine_chunks(), pa.chunked_array(paths, pa.string()), lambda _: images
    )
