"""The wanted images: the ids of an ImageNet training set, in any form in which people keep one."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import IMAGE_ENDING, WNID
from imagenet_captions.images.files import Kind, kind_of
from imagenet_captions.images.tables import named_images, read_paths
from imagenet_captions.images.tars import TarReader
from imagenet_captions.storage.files import require_there, walk
from imagenet_captions.storage.places import Place, is_remote
from imagenet_captions.storage.texts import as_text, read_blocks

log = logging.getLogger(__name__)

# `image_id` over a column: the id, its class, and the class repeated at the end.
ID = rf"(?P<id>(?P<wnid>{WNID})_[0-9]{{1,9}})(?:_(?P<again>{WNID}))?{IMAGE_ENDING}?"
_NAME = rf"(?s)^(?:.*[/\\])?{ID}$"
# n02017213_4263,n02017213 115 49 448 294 (LOC_train_solution.csv) · n01440764/n01440764_10026 1 (train_cls.txt)
_AFTER_THE_NAME = r"(?:\t.*|,[^/\\]*| +[0-9]+)$"
_KAGGLE_HEADER = "ImageId"
_NAMES_AT_ONCE = 1 << 16


def find_ids(texts: pa.Array, pattern: str) -> tuple[pa.Array, pa.BooleanArray]:
    """Return the id that a pattern with `ID` finds in each text, and whether it is one."""
    ids, wnids, again = pc.extract_regex(texts, pattern).flatten()
    return ids, pc.fill_null(pc.or_(pc.equal(again, ""), pc.equal(again, wnids)), False)


class WantedIds(NamedTuple):
    """The wanted ids, sorted and each once, and the number of other entries in a list of ids, with the first one."""

    ids: pa.StringArray
    unreadable: int = 0
    first: str = ""

    def digest(self) -> str:
        """Return the SHA-256 of the ids, one a line; it does not depend on how people keep them."""
        lines = pc.binary_join_element_wise(self.ids, "", "\n")
        return hashlib.sha256(lines.buffers()[2]).hexdigest()


def read_ids(path: Place) -> WantedIds:
    """Read the ids in a train folder, a tar, Parquet or a text; only names are read, never an image.

    An entry of a list that is not an id is an input like the others, and is counted. A folder, tar or Parquet holds
    other files too (a README, the validation images), so names without an id are only logged. Raises InputError if the
    path does not exist, is damaged, or has no id.
    """
    require_there(path, "the source of ids")
    kind = Kind.FOLDER if path.is_dir() else kind_of(path)
    is_list = kind not in (Kind.FOLDER, Kind.PARQUET, Kind.TAR)
    found: list[pa.StringArray] = []
    others, first = 0, ""
    for names in _names_in_text(path) if is_list else _names_of_images(path, kind):
        ids, good = find_ids(names, _NAME)
        found.append(ids.filter(good).unique())
        odd = names.filter(pc.invert(good))
        if len(odd) and not others:
            first = odd[0].as_py()
        others += len(odd)
    ids = pa.chunked_array(found, pa.string()).unique()
    if not len(ids):
        raise InputError(
            f"the ids {path} have no image id such as n01440764_10026; give an ILSVRC train folder, "
            "ILSVRC2012_img_train.tar, LOC_train_solution.csv, train_cls.txt, a folder of imagenet-1k Parquet, or a "
            "text file with an id a line"
        )
    if others:
        log.info("%d names among the ids are not ids of training images, such as %s", others, quoted(first))
    ids = ids.take(pc.sort_indices(ids))
    return WantedIds(ids, others, first) if is_list else WantedIds(ids)


def _names_in_text(path: Place) -> Iterator[pa.StringArray]:
    for block in read_blocks(path, "the list of ids"):
        lines = as_text(pa.array(block.split(b"\n"), pa.binary()))
        names = pc.utf8_trim(pc.replace_substring_regex(lines, _AFTER_THE_NAME, ""), '"\ufeff')
        yield names.filter(pc.and_(pc.not_equal(names, ""), pc.not_equal(names, _KAGGLE_HEADER)))


def _names_of_images(path: Place, kind: Kind) -> Iterator[pa.StringArray]:
    tables = [path] if kind is Kind.PARQUET else _parquet_files(path) if kind is Kind.FOLDER else []
    for table in tables:
        if (column := named_images(table)) is None:
            raise InputError(f"{table} has no column of images with their paths, so they have no names to join on")
        for paths in read_paths(table, column):
            yield from paths.drop_null().chunks
    if kind is Kind.TAR:
        with TarReader(path) as tar:
            yield from _batched(member.name for _, member in tar.members())
    elif not tables:
        yield from _batched(name.rpartition("/")[2] for _, name in walk(path))


def _batched(names: Iterable[str]) -> Iterator[pa.StringArray]:
    for chunk in in_batches(names, _NAMES_AT_ONCE):
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
