"""Tell how a folder or file holds its images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.sources.folders import FolderImages
from imagenet_captions.images.sources.source import ImageSource, is_image_name, no_names, photo_id
from imagenet_captions.images.sources.tables import ParquetImages
from imagenet_captions.images.sources.tars import TarImages
from imagenet_captions.storage.files import require_there, walk
from imagenet_captions.storage.patterns import files_of
from imagenet_captions.storage.places import reopen

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")


def open_images(path: Path) -> ImageSource:
    """The images at `path`: what it is shows in the files themselves.

    A train folder (nested or flat), a folder of files named by Flickr photo id, ILSVRC2012_img_train.tar or a
    folder of its inner tars, WebDataset tars, or the Parquet of imagenet-1k; tars and Parquet also as a pattern, such
    as shards/{00000..00012}.tar.

    Raises InputError if it is none of these, or if nothing in it has a name to join on.
    """
    if (files := files_of(path)) is not None:
        return _open_files(path, files)
    if require_there(path, "the source of images").is_dir():
        return _open_folder(path)
    return _open_files(path, [path])


def _open_folder(path: Path) -> ImageSource:
    unnamed: str | None = None
    tars: list[Path] = []
    tables: list[Path] = []
    for file, name in walk(path):
        suffix = Path(name).suffix.lower()
        if suffix == ".tar":
            tars.append(reopen(file))
        elif suffix == ".parquet":
            tables.append(reopen(file))
        elif is_image_name(name):
            if image_id(name) or photo_id(name.rpartition("/")[2]):
                return FolderImages(path)
            unnamed = unnamed or name
    if tars:
        return TarImages(path, tars)
    if tables:
        return ParquetImages(path, tables)
    if unnamed is not None:
        raise no_names(path, unnamed)
    raise InputError(f"the folder {path} holds no images, tars of images or Parquet with images; check the path")


def _open_files(path: Path, files: Sequence[Path]) -> ImageSource:
    """The images in files of one kind, which the first one shows."""
    first = files[0]
    with first.open("rb") as opened:
        start = opened.read(512)
    if start.startswith(b"PAR1"):
        return ParquetImages(path, files)
    if start.startswith(_COMPRESSED):
        raise InputError(f"the images {first} are compressed and cannot be read in place; unpack them first")
    if start[257:262] == b"ustar" or first.suffix.lower() == ".tar":
        return TarImages(path, files)
    raise InputError(f"the images {first} are neither a folder, a tar nor Parquet; check the path")
