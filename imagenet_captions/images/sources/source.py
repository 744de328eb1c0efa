"""The interface of image sources: the byte range of each image in a file, and the key to join it on."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.storage.places import Place

_PHOTO_ID = re.compile(r"[1-9][0-9]{0,19}")  # no leading zero, so a running number such as 00000017 is none


class ByteRange(NamedTuple):
    """The range of bytes in a file that is one image, exactly as the source holds it."""

    path: str
    offset: int
    size: int


class Found(NamedTuple):
    """An image of the source that was asked for."""

    key: str  # an image id, or a Flickr photo id
    folder: str | None  # the wnid that the folder or inner tar around it is named for
    byte_range: ByteRange


@dataclass(frozen=True)
class ImageQuery:
    """The image ids and Flickr photo ids to look for, in one set of keys; the two never look alike."""

    keys: Container[str]
    photo_ids: bool  # whether photo ids are among the keys
    bytes: bool = True  # whether images are read, or only their names; without it the ranges may be empty


class ImageSource(Protocol):
    """A folder, tar or Parquet that holds images."""

    def find(self, wanted: ImageQuery, scratch: Path) -> Iterator[Found]:
        """Yield the wanted images in an order that depends on the source alone; a key may come twice.

        A source whose images cannot be read in place copies them to a file in `scratch`, which has to last as long
        as the ranges are used. Raises InputError if the source is damaged, or has no names to join on.
        """
        ...


def photo_id(name: str) -> str | None:
    """Return the Flickr photo id in a file's name, or None.

    >>> photo_id("2737866473.jpg"), photo_id("00000017.jpg")
    ('2737866473', None)
    """
    stem = PurePosixPath(name).stem
    return stem if _PHOTO_ID.fullmatch(stem) else None


def no_names(path: Place, example: str) -> InputError:
    """Build the error for images without names to join captions on."""
    return InputError(
        f"the images in {path} have no names to join on (such as {quoted(example)}); "
        "they have to be named like n01440764_10026.JPEG, or by Flickr photo id"
    )
