"""Join rows of captions with the images of a source, and list the names of all images in one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.images.sources import ByteRange, open_images
from imagenet_captions.storage.places import Place, reopen
from imagenet_captions.storage.progress import track

_BATCH = 1 << 16


@dataclass(frozen=True)
class Located:
    """The byte range of each row's image, and for rows without one the reason."""

    ranges: list[ByteRange | None]
    remarks: dict[int, str]

    @property
    def missing(self) -> list[int]:
        """Return the rows without an image."""
        return [row for row, part in enumerate(self.ranges) if part is None]


def locate(rows: pa.Table, images: Place, scratch: Path) -> Located:
    """Find the image of every row, which has image_id, wnid and photo_id; `scratch` must last as long as the ranges.

    Images are joined by image id, else by Flickr photo id; the first one in the source's order counts. An image in a
    folder or inner tar of another class than the row's is not used: either the folder or the name is wrong.
    """
    source, wnids, keys = open_images(images), rows["wnid"].to_pylist(), _rows_by_key(rows)
    ranges: list[ByteRange | None] = [None] * len(rows)
    astray: dict[int, str] = {}
    photo_ids = rows["photo_id"].null_count < len(rows)
    for found in track(source.find(keys, photo_ids, scratch), "find images", len(rows), "images"):
        for row in keys[found.key]:
            if found.folder is not None and found.folder != wnids[row]:
                astray[row] = f"its image lies among those of {found.folder}, so it is not used"
            elif ranges[row] is None:
                ranges[row] = found.byte_range
    return Located(
        ranges, {row: astray.get(row, "no image in the source") for row, part in enumerate(ranges) if part is None}
    )


def _rows_by_key(rows: pa.Table) -> dict[str, list[int]]:
    keys: dict[str, list[int]] = {}
    for row, (image_id, photo_id) in enumerate(
        zip(rows["image_id"].to_pylist(), rows["photo_id"].to_pylist(), strict=True)
    ):
        keys[image_id] = [row]
        if photo_id is not None:
            keys.setdefault(photo_id, []).append(row)
    return keys


class _Everything:
    """A container of all keys."""

    def __contains__(self, key: object) -> bool:
        return True


class ImageIndex:
    """The images at a path, by name: image id or Flickr photo id."""

    def __init__(self, path: Place) -> None:
        self._source = open_images(path)

    @cached_property
    def keys(self) -> pa.StringArray:
        """Return the names of all images, each once, without reading an image.

        An image in a folder of another class is left out, as in packaging.
        """
        batches = [pa.array(batch, pa.string()) for batch in in_batches(self._keys(), _BATCH)]
        return pa.chunked_array(batches, pa.string()).unique()

    def read(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the images of these names, in the order of the source; a name may come twice."""
        with tempfile.TemporaryDirectory() as scratch:
            for key, _, (path, offset, size) in self._source.find(frozenset(keys), True, Path(scratch)):
                with reopen(path).open("rb") as opened:
                    opened.seek(offset)
                    yield key, opened.read(size)

    def _keys(self) -> Iterator[str]:
        for key, folder, _ in self._source.find(_Everything(), True, None):
            if folder is None or not key.startswith("n") or folder == wnid_of(key):
                yield key
