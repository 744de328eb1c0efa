"""The names of the images of an ImageNet training set, from every form in which people keep one.

Each function yields columns of names as it finds them; none reads an image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.crawler.matching.url_lines import as_text
from imagenet_captions.crawler.matching.url_lists import read_blocks
from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError
from imagenet_captions.images.readers.kinds import Kind, kind_of
from imagenet_captions.images.readers.parquet import named_images, read_paths
from imagenet_captions.images.readers.tars import TarReader
from imagenet_captions.storage.files import walk
from imagenet_captions.storage.places import Place, is_remote

_BATCH = 1 << 16
# n02017213_4263,n02017213 115 49 448 294 (LOC_train_solution.csv) · n01440764/n01440764_10026 1 (train_cls.txt)
_AFTER_THE_NAME = r"(?:\t.*|,[^/\\]*| +[0-9]+)$"
_KAGGLE_HEADER = "ImageId"


def names_in(path: Place) -> Iterator[pa.StringArray]:
    """Yield the names in a folder, tar, Parquet or text, whichever `path` is; raises InputError for a damaged one."""
    if path.is_dir():
        tables = _parquet_files(path)
        yield from _in_parquet(tables) if tables else _batched(name.rpartition("/")[2] for _, name in walk(path))
    elif is_list(path):
        yield from _in_text(path)
    elif kind_of(path) is Kind.PARQUET:
        yield from _in_parquet([path])
    else:
        yield from _batched(_in_tar(path))


def is_list(path: Place) -> bool:
    """Whether `path` is a text that lists ids, and nothing else."""
    return path.is_file() and kind_of(path) not in (Kind.PARQUET, Kind.TAR)


def _batched(names: Iterable[str]) -> Iterator[pa.StringArray]:
    for chunk in in_batches(names, _BATCH):
        # A file's name may hold bytes that are not UTF-8; Python keeps them as lone surrogates.
        yield pa.array([name.encode("utf-8", "replace") for name in chunk], pa.binary()).cast(pa.string())


def _parquet_files(folder: Place) -> list[Place]:
    """Return the Parquet files in a folder and its `data` folder; only the training split's if names show it."""
    places = [place for place in (folder, folder / "data") if place.is_dir()]
    if is_remote(folder):
        found = [path for place in places for path in place.glob("*.parquet")]
    else:
        entries = (entry for place in places for entry in os.scandir(str(place)))
        found = sorted(Path(entry.path) for entry in entries if entry.name.endswith(".parquet"))
    return [path for path in found if path.name.startswith("train")] or found


def _in_parquet(tables: Iterable[Place]) -> Iterator[pa.StringArray]:
    for path in tables:
        if (column := named_images(path)) is None:
            raise InputError(f"{path} has no column of images with their paths, so they have no names to join on")
        for paths in read_paths(path, column):
            yield from paths.drop_null().chunks


def _in_tar(path: Place) -> Iterator[str]:
    """Yield the names in a tar of images or in ILSVRC2012_img_train.tar; only headers are read."""
    with TarReader(path) as tar:
        yield from (member.name for _, member in tar.members())


def _in_text(path: Place) -> Iterator[pa.StringArray]:
    for block in read_blocks(path, "the list of ids"):
        lines = as_text(pa.array(block.split(b"\n"), pa.binary()))
        names = pc.utf8_trim(pc.replace_substring_regex(lines, _AFTER_THE_NAME, ""), '"\ufeff')
        yield names.filter(pc.and_(pc.not_equal(names, ""), pc.not_equal(names, _KAGGLE_HEADER)))
