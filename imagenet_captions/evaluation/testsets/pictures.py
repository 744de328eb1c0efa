"""Images of test sets in folders or in a plain tar; the folder around an image is its class."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Examples, FileImages
from imagenet_captions.images.files import image_files, is_image_name
from imagenet_captions.images.tars import TarReader

_LABELS = (".cls",)
_GZIP = b"\x1f\x8b"


def pictures_in_folder(path: Path) -> Examples:
    """Return the images at any depth below a folder, in the order of their names; their ids are the names below it."""
    found = sorted((name, file) for file, name, _ in image_files(path))
    files = pa.array([os.fsencode(file) for _, file in found], pa.binary())
    return _unlabelled(path, [name for name, _ in found], FileImages(files))


def pictures_in_tar(path: Path, scratch: Path) -> Examples | None:
    """Return the images in a tar, which is read in place; one in gzip is taken out of it into `scratch` first.

    Their ids are the names within the tar. Returns None for a tar that holds labels as well: it is a WebDataset shard,
    and its folders are not classes. Raises InputError for a tar without images.
    """
    with path.open("rb") as opened:
        compressed = opened.read(2) == _GZIP
    plain = _without_gzip(path, scratch) if compressed else path
    with TarReader(plain) as tar:
        members = [member for _, member in tar.members()]
    found = sorted(member for member in members if is_image_name(member.name))
    if not found:
        raise InputError(f"{path} has no images in it; give the tar of a test set")
    if any(member.name.endswith(_LABELS) for member in members):
        return None
    places = np.array([member[1:] for member in found], np.int64).reshape(-1, 2)
    files = np.zeros(len(found), np.int32)
    images = FileImages(pa.array([os.fsencode(plain)]), files, places)
    return _unlabelled(path, [member.name for member in found], images)


def _unlabelled(path: Path, names: Sequence[str], images: FileImages) -> Examples:
    return Examples(path, None, np.full(len(names), -1, np.int64), pa.array(names, pa.string()), images)


def folder_of(name: str) -> str:
    """Return the folder that an image lies in directly, or "" if it lies in none.

    >>> folder_of("./val/n01440764/1.JPEG"), folder_of("./2.JPEG")
    ('n01440764', '')
    """
    return name.rpartition("/")[0].rpartition("/")[2].removeprefix(".")


def _without_gzip(path: Path, scratch: Path) -> Path:
    """Return the tar inside; it is taken out once, though several models are measured with one scratch folder."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    plain, partial = scratch / f"{name}.tar", scratch / f"{name}.partial"
    if plain.exists():
        return plain
    try:
        with gzip.open(path) as compressed, partial.open("wb") as written:
            shutil.copyfileobj(compressed, written, 1 << 20)
        partial.rename(plain)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}; fetch it again") from None
    return plain
