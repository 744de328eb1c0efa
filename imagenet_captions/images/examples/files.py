"""Examples that are image files: in a folder, or named by open_clip's CSV or TSV with their captions."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, shortened
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES, is_wnid, wnid_of
from imagenet_captions.images.examples.classes_of import Labelled, by_key, by_number
from imagenet_captions.images.examples.example import Examples, spread_rows
from imagenet_captions.images.examples.stored import FileImages, TextColumns, ids_of
from imagenet_captions.images.readers.folders import image_files, nearest_wnid, wnid_in
from imagenet_captions.images.readers.separated import SeparatedTable
from imagenet_captions.storage.places import Place

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "dev"})
_FILES = pa.schema([("path", pa.binary()), ("name", pa.string()), ("key", pa.string())])
_BATCH = 1 << 16

# Columns of a table, the first that it has.
IMAGE_COLUMNS = ("filepath", "image_path", "file_name", "filename", "image", "path")
CAPTION_COLUMNS = ("title", "caption", "text")
LABEL_COLUMNS = ("label", "labels", "cls", "target")
CLASS_COLUMNS = ("wnid", "class_name", "class")
_ROWS_AT_ONCE = 1_000  # fewer stay in a core's caches
_LOOKED_AT = 1000


def open_folder(source: Place) -> Examples:
    """Return the images below a folder, in the order of their names.

    An image's class is the nearest folder around it whose name is a wnid, else the outermost folder. For an image
    outside folders it is the wnid in the file's name, if there is one. The classes are sorted, and include those of
    empty folders.
    """
    batches = [pa.RecordBatch.from_pylist(batch, schema=_FILES) for batch in in_batches(_images(source), _BATCH)]
    table = pa.Table.from_batches(batches, _FILES)
    if not len(table):
        raise InputError(f"the folder {source} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); check the path")
    keys = pc.unique(table["key"]).drop_null().to_pylist()
    if len(keys) > 1 and set(map(str.lower, keys)) <= _SPLITS:
        raise InputError(f"{source} holds the folders {' and '.join(sorted(keys))}; give one of them")
    empty = () if table["key"].null_count else _folders_without(source, keys)
    classes, labels = by_key(table["key"], empty)
    return Examples(source, classes, labels, ids_of(table["name"]), FileImages(table["path"]))


def _images(source: Place) -> Iterator[dict[str, str | bytes | None]]:
    around = wnid_in(source.resolve().name)
    for path, name, _ in image_files(source):
        yield {"path": os.fsencode(path), "name": name, "key": _key(name) or around}


def _key(name: str) -> str | None:
    outermost, _, inside = name.partition("/")
    if inside:
        return nearest_wnid(name) or outermost
    return wnid_of(name) if is_wnid(wnid_of(name)) and name[9:10] == "_" else None


def _folders_without(source: Place, keys: list[str]) -> list[str]:
    """Return the folders of classes without images, if the classes are the outermost folders."""
    outer = [
        entry.name for entry in source.iterdir() if entry.is_dir() and not entry.name.startswith((".", "__MACOSX"))
    ]
    return [name for name in outer if name not in keys] if set(keys) <= set(outer) else []


def open_separated(source: Place) -> Examples:
    """Return the images that a CSV or TSV file names, with their captions.

    The separator is a tab, open_clip's, if the header has one, else a comma. Paths are absolute, or relative to the
    file, or, as for open_clip, to the working directory if the first image is found there and not beside the file. The
    caption is the column `title`, open_clip's name for it.
    """
    table = _read(source)
    paths = _column(table, IMAGE_COLUMNS)
    if paths is None:
        raise InputError(f"{source} has no column of images; call one of its columns filepath, as open_clip does")
    folder = _folder(source, paths[0].as_py()).as_posix().rstrip("/")
    full = pc.if_else(pc.starts_with(paths, "/"), paths, pc.binary_join_element_wise(folder, paths, "/"))
    _check_files(source, full)
    caption = _column(table, CAPTION_COLUMNS)
    texts = None if caption is None else TextColumns({"caption": caption})
    classes, labels = _labels(table)
    return Examples(source, classes, labels, ids_of(paths), FileImages(full), texts)


def _folder(source: Place, first: str) -> Place:
    beside = source.resolve().parent
    return Path.cwd() if not (beside / first).is_file() and (Path.cwd() / first).is_file() else beside


def _read(source: Place) -> pa.Table:
    read = SeparatedTable(source, fill=True)
    known = {*IMAGE_COLUMNS, *CAPTION_COLUMNS, *LABEL_COLUMNS, *CLASS_COLUMNS}
    columns = [name for name in read.schema.names if name in known]
    parts = [
        pa.table([pc.utf8_trim_whitespace(batch[name]) for name in columns], names=columns)
        for batch in read.batches(_ROWS_AT_ONCE)
    ]
    read.require_all()
    if not parts:
        raise InputError(f"{source} holds no rows; give a file with a header and a row an image")
    return pa.concat_tables(parts).combine_chunks()


def _column(table: pa.Table, names: tuple[str, ...]) -> pa.ChunkedArray | None:
    return next((table[name] for name in names if name in table.column_names), None)


def _labels(table: pa.Table) -> Labelled:
    numbers, keys = _column(table, LABEL_COLUMNS), _column(table, CLASS_COLUMNS)
    if keys is not None:
        return by_key(keys)
    if numbers is None:
        return by_number(pa.nulls(len(table), pa.int64()), None)
    if pc.all(pc.match_substring_regex(numbers, r"^(?:[0-9]{1,9})?$")).as_py():
        return by_number(pc.if_else(pc.equal(numbers, ""), None, numbers).cast(pa.int64()), None)
    return by_key(numbers)


def _check_files(source: Place, paths: pa.ChunkedArray) -> None:
    """Check that files exist: all of a few, or a thousand of many; a missing one shows later when it is read."""
    rows = spread_rows(len(paths), _LOOKED_AT)
    missing = [row for row in rows if not Path(paths[row].as_py()).is_file()]
    if missing:
        first = missing[0]
        raise InputError(
            f"{source} names {shortened(paths[first], 200)} in row {first + 1:,}, which is not a file "
            f"({len(missing):,} of {len(rows):,} looked at are missing); paths are relative "
            "to the file's folder or the working directory"
        )
