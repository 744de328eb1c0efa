"""Examples in WebDataset shards: samples in plain tars, read in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.engines import local as engine
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES, image_id, wnid_of
from imagenet_captions.images.examples.classes_of import Labels, by_number, named_classes
from imagenet_captions.images.examples.example import Class, Examples, Integers, Texts
from imagenet_captions.images.examples.stored import FileImages, OpenFiles, ids_of
from imagenet_captions.images.readers.samples import json_object, read_samples
from imagenet_captions.images.readers.tars import Member, TarReader
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import track

_TEXT, _JSON, _LABEL = "txt", "json", "cls"
_NAMES_FILES = ("classnames.txt", "classes.txt")
_AT_ONCE = 8  # shards; the time goes into waiting for a disk
_ABSENT = Member("", 0, -1)
_LONGEST_LABEL = 20


def open_shards(source: Place, tars: Sequence[Place]) -> Examples:
    """Return the samples of the shards that have an image, in order; the others are left out and counted.

    One pass over the headers finds all members; images and texts are read on demand.
    """
    indexed = engine.run(_index, tars, min(_AT_ONCE, len(tars)), threads=True)
    shards = list(track(indexed, "index", len(tars), "shards"))
    ranges = np.concatenate([shard.ranges for shard in shards])
    if not len(ranges):
        raise InputError(
            f"{source} holds no sample with an image ({', '.join(sorted(IMAGE_SUFFIXES))}); check the path"
        )
    files = np.concatenate([np.full(len(shard.ranges), at, np.int32) for at, shard in enumerate(shards)])
    keys = pa.chunked_array([shard.keys for shard in shards], pa.string())
    numbers = np.concatenate([shard.labels for shard in shards])
    paths = pa.array(map(str, tars), pa.string())
    texts = SampleTexts(paths, files, ranges[:, 2:])
    ids = ids_of(keys)
    classes, labels = _classes(tars[0].parent, numbers, ids, texts)
    images = FileImages(paths, files, ranges[:, 0].copy(), ranges[:, 1].copy())
    return Examples(source, classes, labels, ids, images, texts, sum(shard.left_out for shard in shards))


@dataclass(frozen=True)
class _Shard:
    keys: pa.Array
    ranges: Integers  # offset and size of image, .txt and .json
    labels: Labels
    left_out: int


def _index(path: Place) -> _Shard:
    keys, labels, left_out = [], [], 0
    ranges: list[tuple[int, ...]] = []
    with TarReader(path) as tar:
        for sample in read_samples(tar, {_LABEL}, _LONGEST_LABEL):
            if not (images := sample.images()):
                left_out += 1
                continue
            keys.append(sample.key)
            label = sample.label()
            labels.append(-1 if label is None else label)
            text, said = (sample.members.get(name, _ABSENT) for name in (_TEXT, _JSON))
            ranges.append((*images[0][1:], *text[1:], *said[1:]))
    return _Shard(
        pa.array(keys, pa.string()),
        np.array(ranges, np.int64).reshape(-1, 6),
        np.array(labels, np.int64),
        left_out,
    )


class SampleTexts:
    """The texts of samples, from .txt (the caption) and .json (title, description, tags, caption)."""

    def __init__(self, paths: pa.Array, files: npt.NDArray[np.int32], ranges: Integers) -> None:
        self._paths, self._files, self._ranges = paths, files, ranges
        self._open = OpenFiles()

    def read(self, row: int) -> Texts:
        said = self.said(row)
        text = self._member(row, 0)
        caption = _string(said.get("caption")) if text is None else text.decode("utf-8", "replace").strip()
        tags = said.get("tags")
        if isinstance(tags, str):
            tags = [tags] if tags else []
        return Texts(
            _string(said.get("title")),
            _string(said.get("description")),
            tuple(map(str, tags)) if isinstance(tags, list) else (),
            caption,
        )

    def said(self, row: int) -> dict[str, Any]:
        """Return the content of the sample's .json; empty if it is missing or cannot be read."""
        return json_object(self._member(row, 2) or b"") or {}

    def _member(self, row: int, at: int) -> bytes | None:
        offset, size = self._ranges[row, at : at + 2].tolist()
        if size < 0:
            return None
        return self._open.read(self._paths[int(self._files[row])].as_py(), offset, size)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _classes(
    folder: Place, numbers: Labels, ids: pa.ChunkedArray, texts: SampleTexts
) -> tuple[tuple[Class, ...] | None, Labels]:
    """Return the classes for the numbers in .cls: named by a list beside the shards, ImageNet's if samples agree with
    those, or else the numbers themselves."""
    # CLIP_benchmark has classnames.txt one folder above the shards of a split.
    files = [*(folder / name for name in _NAMES_FILES), folder.resolve().parent / _NAMES_FILES[0]]
    listed = next((path for path in files if path.is_file()), None)
    if listed is not None:
        names = listed.read_text(encoding="utf-8").splitlines()
        return by_number(pa.array(numbers), names)
    labelled = np.flatnonzero(numbers >= 0)
    # Samples of several classes: class 0 alone is called so in many sets.
    _, first = np.unique(numbers[labelled], return_index=True)
    looked_at = labelled[first[:: max(1, len(first) // 8)]].tolist()
    wnids = {int(numbers[row]): _wnid(ids[row].as_py(), texts.said(row)) for row in looked_at}
    if wnids and all(wnid and imagenet.index_of(wnid) == number for number, wnid in wnids.items()):
        return named_classes(imagenet.wnids()), numbers
    return by_number(pa.array(np.where(numbers < 0, -1, numbers)), None)


def _wnid(key: str, said: dict[str, Any]) -> str:
    named = image_id(key) or image_id(_string(said.get("filename")))
    return wnid_of(named) if named else _string(said.get("wnid"))
