"""Open labeled images: detects the layout of a folder, file or pattern."""

from __future__ import annotations

import re

from imagenet_captions.dataset.manifest import shard_files
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples.example import Examples
from imagenet_captions.images.examples.files import open_folder, open_separated
from imagenet_captions.images.examples.parquet import open_parquet
from imagenet_captions.images.examples.shards import open_shards
from imagenet_captions.images.readers.kinds import Kind, compressed, kind_of, look_into
from imagenet_captions.storage.files import require_there
from imagenet_captions.storage.outputs import is_dataset
from imagenet_captions.storage.places import Place, expand_pattern

_KINDS = (
    "a dataset folder of ours, Parquet with an image column, WebDataset .tar shards, open_clip's .csv or .tsv, "
    "or a folder of images"
)
_TABLES = (".csv", ".tsv", ".txt")
_SPLIT = re.compile(r"(train|test|val|validation|dev)[-_.].*", re.IGNORECASE)


def open_examples(source: Place) -> Examples:
    """Open the images at `source`; the files themselves show the layout.

    The layouts are one of our dataset folders; Parquet (a file, or a folder of one split's files) with an image column;
    WebDataset shards (a .tar, a folder of them, or a pattern such as shards/{00000..00012}.tar); open_clip's CSV or
    TSV; a folder of images, in folders named for their classes or not.

    Raises InputError if it is none of these, or has no images.
    """
    files = expand_pattern(source)
    if files is None and require_there(source, "the source of images").is_dir():
        if is_dataset(source):
            return open_parquet(source, shard_files(source))
        held = look_into(source)
        if held.image:
            return open_folder(source)
        files = _one_split(source, held.tables or held.tars)
    files = files or [source]
    first, kind = files[0], kind_of(files[0])
    if kind is Kind.PARQUET:
        return open_parquet(source, files)
    if kind is Kind.TAR:
        return open_shards(source, files)
    if kind is Kind.COMPRESSED:
        raise compressed(first)
    if first.suffix.lower() in _TABLES and len(files) == 1:
        return open_separated(first)
    raise InputError(f"{first} is not a form of images that can be read; give {_KINDS}")


def _one_split(folder: Place, files: list[Place]) -> list[Place]:
    """Return the files; raises InputError if there are none, or if they are those of several splits."""
    if not files:
        raise InputError(f"the folder {folder} holds no images that can be read; give {_KINDS}")
    splits = sorted({split[1].lower() for file in files if (split := _SPLIT.fullmatch(file.name))})
    if len(splits) > 1:
        raise InputError(
            f"{folder} holds the splits {' and '.join(splits)}; give one of them, "
            f"such as {splits[0]}-*{files[0].suffix}"
        )
    return files
