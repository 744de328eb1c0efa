"""The wanted images: the ids of an ImageNet training set, from any form in which people keep one.

Only names are read, never an image.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.crawler.matching.id_keys import Keys, keys_of_names
from imagenet_captions.crawler.matching.url_lines import as_text
from imagenet_captions.crawler.matching.url_lists import read_blocks
from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.images.readers.kinds import Kind, kind_of
from imagenet_captions.images.readers.parquet import named_images, read_paths
from imagenet_captions.images.readers.tars import TarReader
from imagenet_captions.outcomes import MOST_LISTED
from imagenet_captions.storage.files import require_there, walk
from imagenet_captions.storage.places import Place, is_remote

log = logging.getLogger(__name__)

_FORMS = (
    "give an ILSVRC train folder, ILSVRC2012_img_train.tar, LOC_train_solution.csv, train_cls.txt, "
    "a folder of imagenet-1k Parquet, or a text file with an id a line"
)


_BATCH = 1 << 16
# n02017213_4263,n02017213 115 49 448 294 (LOC_train_solution.csv) · n01440764/n01440764_10026 1 (train_cls.txt)
_AFTER_THE_NAME = r"(?:\t.*|,[^/\\]*| +[0-9]+)$"
_KAGGLE_HEADER = "ImageId"


class WantedIds(NamedTuple):
    """The sorted keys of the wanted ids, each once, and the other entries of a list of ids."""

    keys: Keys
    unreadable: int = 0
    listed: tuple[str, ...] = ()  # the first of the unreadable entries


def read_ids(path: Place) -> WantedIds:
    """Read all image ids in `path`.

    An entry of a list that is not an id is an input like the others, and is counted. A folder, tar or Parquet holds
    other files too (a README, the validation images), so names without an id are only logged. Raises InputError if the
    path does not exist, is damaged, or has no id.
    """
    require_there(path, "the source of ids")
    chunks: list[Keys] = [np.empty(0, np.int64)]
    others = 0
    listed: list[str] = []
    for names in names_in(path):
        keys = keys_of_names(names)
        if keys.null_count:
            others += keys.null_count
            listed += names.filter(pc.is_null(keys)).slice(0, MOST_LISTED - len(listed)).to_pylist()
        chunks.append(np.unique(keys.drop_null().to_numpy()))
    found: Keys = np.unique(np.concatenate(chunks))
    if not len(found):
        raise InputError(f"the ids {path} have no image id such as n01440764_10026; {_FORMS}")
    if others:
        log.info("%d names among the ids are not ids of training images, such as %s", others, quoted(listed[0]))
    return WantedIds(found, others, tuple(listed)) if is_list(path) else WantedIds(found)


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
