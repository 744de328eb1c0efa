"""Images of test sets in folders or in a plain tar; the folder around an image is its class."""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.images.examples.stored import FileImages
from imagenet_captions.images.readers.folders import image_files, is_image_name
from imagenet_captions.images.readers.tars import TarReader

_LABELS = (".cls",)
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Pictures:
    """Images by name, which is the path below the folder or within the tar.

    `shard` says that a tar holds labels as well: it is a WebDataset shard, and its folders are not classes.
    """

    names: tuple[str, ...]
    images: FileImages
    shard: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def image_id(self, index: int) -> str:
        """Return the name to show for an image."""
        return self.names[index]

    def image(self, index: int) -> bytes:
        """Return the bytes of an image's file."""
        return self.images.read(index)

    def folder(self, index: int) -> str:
        """Return the folder that an image lies in directly, or "" if it lies in none.

        >>> Pictures(("./val/n01440764/1.JPEG", "2.JPEG"), FileImages(pa.array([], pa.string()))).folder(0)
        'n01440764'
        """
        return self.names[index].rpartition("/")[0].rpartition("/")[2].removeprefix(".")


def pictures_in_folder(path: Path) -> Pictures:
    """Return the images at any depth below a folder, in the order of their names."""
    found = sorted((name, file) for file, name, _ in image_files(path))
    return Pictures(
        tuple(name for name, _ in found), FileImages(pa.array([os.fsencode(file) for _, file in found], pa.binary()))
    )


def pictures_in_tar(path: Path, scratch: Path) -> Pictures:
    """Return the images in a tar, which is read in place; one in gzip is taken out of it into `scratch` first."""
    with path.open("rb") as opened:
        compressed = opened.read(2) == _GZIP
    plain = _without_gzip(path, scratch) if compressed else path
    with TarReader(plain) as tar:
        members = [member for _, member in tar.members()]
    found = sorted(member for member in members if is_image_name(member.name))
    places = np.array([member[1:] for member in found], np.int64).reshape(-1, 2)
    files = np.zeros(len(found), np.int32)
    images = FileImages(pa.array([os.fsencode(plain)]), files, places[:, 0].copy(), places[:, 1].copy())
    shard = any(member.name.endswith(_LABELS) for member in members)
    return Pictures(tuple(member.name for member in found), images, shard)


def _without_gzip(path: Path, scratch: Path) -> Path:
    plain = scratch / f"{path.stem}.tar"
    try:
        with gzip.open(path) as compressed, plain.open("wb") as written:
            shutil.copyfileobj(compressed, written, 1 << 20)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}; fetch it again") from None
    return plain
