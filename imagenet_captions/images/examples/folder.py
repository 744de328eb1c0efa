"""Examples in a folder of images, with folders named for classes as in torchvision's ImageFolder, or without."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES, is_wnid, wnid_of
from imagenet_captions.images.examples.classes_of import by_key
from imagenet_captions.images.examples.stored import FileImages, StoredExamples, TextColumns, ids_of
from imagenet_captions.images.readers.folders import image_files, nearest_wnid, wnid_in
from imagenet_captions.storage.places import Place

_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "dev"})
_BATCH = 1 << 16


def open_folder(source: Place) -> StoredExamples:
    """Return the images below a folder, in the order of their names.

    An image's class is the nearest folder around it whose name is a wnid, else the outermost folder. For an image
    outside folders it is the wnid in the file's name, if there is one. The classes are sorted, and include those of
    empty folders.
    """
    batches = [pa.RecordBatch.from_pylist(batch, schema=_SCHEMA) for batch in in_batches(_images(source), _BATCH)]
    table = pa.Table.from_batches(batches, _SCHEMA)
    if not len(table):
        raise InputError(f"the folder {source} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))}); check the path")
    keys = pc.unique(table["key"]).drop_null().to_pylist()
    if len(keys) > 1 and set(map(str.lower, keys)) <= _SPLITS:
        raise InputError(f"{source} holds the folders {' and '.join(sorted(keys))}; give one of them")
    empty = () if table["key"].null_count else _folders_without(source, keys)
    classes, labels = by_key(table["key"], empty)
    images = FileImages(table["path"])
    return StoredExamples(source, classes, labels, ids_of(table["name"]), images, TextColumns({}))


_SCHEMA = pa.schema([("path", pa.binary()), ("name", pa.string()), ("key", pa.string())])


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
