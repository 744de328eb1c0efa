"""The names of all images in a source, and the bytes of a few, for statistics."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.images.sources.opening import open_images
from imagenet_captions.images.sources.source import ImageQuery
from imagenet_captions.storage.places import Place, reopen

_BATCH = 1 << 16


class _Everything:
    """A container of all keys."""

    def __contains__(self, key: object) -> bool:
        return True


class ImageIndex:
    """The images at a path, by name."""

    def __init__(self, path: Place) -> None:
        self._source = open_images(path)

    @cached_property
    def keys(self) -> pa.StringArray:
        """Return the image ids or Flickr photo ids of all images, each once, without reading an image.

        An image in a folder of another class is left out, as in packaging.
        """
        batches = [pa.array(batch, pa.string()) for batch in in_batches(self._keys(), _BATCH)]
        return pa.chunked_array(batches, pa.string()).unique()

    def read(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the images of these names, in the order of the source; a name may come twice."""
        wanted = frozenset(keys)
        with tempfile.TemporaryDirectory() as scratch:
            for found in self._source.find(ImageQuery(wanted, photo_ids=True), Path(scratch)):
                with reopen(found.byte_range.path).open("rb") as opened:
                    opened.seek(found.byte_range.offset)
                    yield found.key, opened.read(found.byte_range.size)

    def _keys(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory() as scratch:
            for found in self._source.find(ImageQuery(_Everything(), photo_ids=True, bytes=False), Path(scratch)):
                if found.folder is None or not found.key.startswith("n") or found.folder == wnid_of(found.key):
                    yield found.key
