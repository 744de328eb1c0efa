"""Images to package, in the forms in which people keep ImageNet: found by image id or photo id, read in place."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.readers.folders import image_files, nearest_wnid, wnid_in
from imagenet_captions.images.readers.kinds import Kind, compressed, kind_of, look_into
from imagenet_captions.images.readers.parquet import image_file, named_images, paths_only, read_images
from imagenet_captions.images.readers.samples import Sample, json_object, read_samples
from imagenet_captions.images.readers.tars import Member, TarReader
from imagenet_captions.storage.files import require_there
from imagenet_captions.storage.places import Place, expand_pattern

_PHOTO_ID = re.compile(r"[1-9][0-9]{0,19}")  # no leading zero, so a running number such as 00000017 is none
_LARGEST_JSON = 1 << 20


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


class Wanted:
    """The keys to look for: image ids and, with `photo_ids`, Flickr photo ids; the two never look alike.

    It notes whether any name in the source is one to join on.
    """

    def __init__(self, keys: Container[str], photo_ids: bool) -> None:
        self.joined, self.example = False, ""
        self._keys, self._photo_ids = keys, photo_ids

    def find(self, name: str, in_folder: bool = False) -> str | None:
        """Return the key in a name if it is wanted; only files in folders are named by photo id."""
        key = image_id(name)
        if key is None and in_folder and self._photo_ids:
            key = photo_id(name)
        if key is None:
            self.example = self.example or name
            return None
        self.joined = True
        return key if key in self._keys else None


class ImageSource:
    """A folder, tars or Parquet files that hold images; `path` is what the user gave."""

    def __init__(self, path: Place, kind: Kind, files: Sequence[Place]) -> None:
        self.path, self.kind, self.files = path, kind, files

    def find(self, keys: Container[str], photo_ids: bool, scratch: Path | None) -> Iterator[Found]:
        """Yield the wanted images in an order that depends on the source alone; a key may come twice.

        Images that cannot be read in place are copied to a file in `scratch`, which has to last as long as the ranges
        are used; without it only names are read, and ranges may be empty. Raises InputError if the source is damaged,
        or has no names to join on.
        """
        wanted = Wanted(keys, photo_ids)
        yield from _FINDERS[self.kind](self, wanted, scratch)
        if not wanted.joined and photo_id(wanted.example) and self.kind is Kind.FOLDER:
            raise InputError(
                f"the images in {self.path} are named by Flickr photo id, but the captions have no photo ids to join "
                "them on; build from ImageNet's URL list, or give images named like n01440764_10026.JPEG"
            )
        if not wanted.joined:
            raise _no_names(self.path, wanted.example)


def open_images(path: Place) -> ImageSource:
    """Open the images at `path`; the files themselves show the form.

    The forms are a train folder (nested or flat), a folder of files named by Flickr photo id, ILSVRC2012_img_train.tar
    or a folder of its inner tars, WebDataset tars, or the Parquet of imagenet-1k; tars and Parquet also as a pattern,
    such as shards/{00000..00012}.tar.

    Raises InputError if it is none of these, or if nothing in it has a name to join on.
    """
    files = expand_pattern(path)
    if files is None and require_there(path, "the source of images").is_dir():
        held = look_into(path, lambda name: image_id(name) or photo_id(name))
        if held.image:
            return ImageSource(path, Kind.FOLDER, [path])
        files = held.tars or held.tables
        if not files and held.other_image:
            raise _no_names(path, held.other_image)
        if not files:
            raise InputError(
                f"the folder {path} holds no images, tars of images or Parquet with images; check the path"
            )
    files = files or [path]
    kind = kind_of(files[0])
    if kind is Kind.COMPRESSED:
        raise compressed(files[0])
    if kind not in _FINDERS:
        raise InputError(f"the images {files[0]} are neither a folder, a tar nor Parquet; check the path")
    return ImageSource(path, kind, files)


def _in_folder(source: ImageSource, wanted: Wanted, scratch: Path | None) -> Iterator[Found]:
    """Yield the wanted files, folder by folder in the order of their names."""
    around = wnid_in(source.path.resolve().name)
    for file, name, size in image_files(source.path):
        if (key := wanted.find(name, in_folder=True)) is not None:
            size = os.stat(file).st_size if size is None else size  # noqa: PTH116  # a Path takes longer than the rest
            yield Found(key, nearest_wnid(name, around), ByteRange(file, 0, size))


def _in_tars(source: ImageSource, wanted: Wanted, scratch: Path | None) -> Iterator[Found]:
    """Yield the wanted members, tar by tar, in their order."""
    for path in source.files:
        outer = wnid_in(path.name)
        with TarReader(path) as tar:
            for sample in read_samples(tar, {"json"}, _LARGEST_JSON):
                around = wnid_in(sample.tar.rpartition("/")[2]) or outer if sample.tar else outer
                for member in sample.images():
                    name = _joined_name(sample, member)
                    if (key := wanted.find(name)) is not None:
                        byte_range = ByteRange(str(path), member.offset, member.size)
                        yield Found(key, nearest_wnid(name, around), byte_range)


def _joined_name(sample: Sample, member: Member) -> str:
    """Return the name to join on: the member's own, else the one in its JSON (as in timm's shards)."""
    if "json" not in sample.contents or image_id(member.name) is not None:
        return member.name
    filename = (json_object(sample.contents["json"]) or {}).get("filename")
    return filename if isinstance(filename, str) and image_id(filename) is not None else member.name


def _in_parquet(source: ImageSource, wanted: Wanted, scratch: Path | None) -> Iterator[Found]:
    """Yield the wanted images in the order of files and rows; their bytes go to a file in `scratch`.

    Nothing in such a file can be read in place one by one, and its order is not ours, so one pass over it copies
    the wanted images to a file from which they are read later.
    """
    columns = {table: column for table in source.files if (column := named_images(table))}
    if not columns:
        raise InputError(f"{source.path} has no column of images (bytes and path); check the path")
    absent, found = "", False

    def take(path: str | None) -> bool:
        return scratch is not None and path is not None and wanted.find(path) is not None

    with nullcontext() if scratch is None else (scratch / "images").open("wb") as spool:
        for table, column in columns.items():
            for path, data in read_images(table, column, take):
                name = path or "null"
                if (key := wanted.find(name)) is None:
                    continue
                part = ByteRange(str(table), 0, 0) if spool is None else _copied(table, name, data, spool)
                if part is None:
                    absent = absent or name
                else:
                    found = True
                    yield Found(key, None, part)
    if absent and not found:
        raise paths_only(source.path, absent)


def _copied(table: Place, path: str, data: bytes | None, spool: BinaryIO) -> ByteRange | None:
    """Return where the bytes were copied to, or for a row without bytes the image file at its path."""
    if data is None:
        file = image_file(table, path)
        return None if file is None else ByteRange(str(file), 0, file.stat().st_size)
    offset = spool.tell()
    spool.write(data)
    return ByteRange(spool.name, offset, len(data))


_FINDERS: dict[Kind, Callable[[ImageSource, Wanted, Path | None], Iterator[Found]]] = {
    Kind.FOLDER: _in_folder,
    Kind.TAR: _in_tars,
    Kind.PARQUET: _in_parquet,
}


def photo_id(name: str) -> str | None:
    """Return the Flickr photo id in a file's name, or None.

    >>> photo_id("2737866473.jpg"), photo_id("some/00000017.jpg")
    ('2737866473', None)
    """
    stem = PurePosixPath(name).stem
    return stem if _PHOTO_ID.fullmatch(stem) else None


def _no_names(path: Place, example: str) -> InputError:
    if not example:
        return InputError(f"{path} holds no images; check the path")
    return InputError(
        f"the images in {path} have no names to join on (such as {quoted(example)}); "
        "they have to be named like n01440764_10026.JPEG, or by Flickr photo id"
    )
