"""The forms in which people hold images to package: files in folders, tars, Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.readers.folders import image_files, nearest_wnid, wnid_in
from imagenet_captions.images.readers.parquet import image_file, named_images, paths_only, read_images
from imagenet_captions.images.readers.samples import Sample, json_object, read_samples
from imagenet_captions.images.readers.tars import Member, TarReader
from imagenet_captions.images.sources.source import ByteRange, Found, ImageQuery, no_names, photo_id
from imagenet_captions.storage.places import Place

_LARGEST_JSON = 1 << 20


class FolderImages:
    """An `ImageSource` over files in a folder, at any depth."""

    def __init__(self, path: Place) -> None:
        self.path = path

    def find(self, wanted: ImageQuery, scratch: Path) -> Iterator[Found]:
        """Yield the wanted files, folder by folder in the order of their names."""
        around = wnid_in(self.path.resolve().name)
        example, joined = "", False
        for file, name, size in image_files(self.path):
            key = image_id(name)
            if key is None and wanted.photo_ids:
                key = photo_id(name.rpartition("/")[2])
            if key is None:
                example = example or name
                continue
            joined = True
            if key in wanted.keys:
                size = Path(file).stat().st_size if size is None else size
                yield Found(key, nearest_wnid(name, around), ByteRange(file, 0, size))
        if not joined and example:
            raise _photo_ids_only(self.path) if photo_id(Path(example).name) else no_names(self.path, example)


def _photo_ids_only(path: Place) -> InputError:
    return InputError(
        f"the images in {path} are named by Flickr photo id, but the captions have no photo ids to join them on; "
        "build from ImageNet's URL list, or give images named like n01440764_10026.JPEG"
    )


class TarImages:
    """An `ImageSource` over tars; `path` is what the user gave, `tars` the files."""

    def __init__(self, path: Place, tars: Sequence[Place]) -> None:
        self.path = path
        self.tars = tars

    def find(self, wanted: ImageQuery, scratch: Path) -> Iterator[Found]:
        """Yield the wanted members, tar by tar, in their order."""
        example, joined = "", False
        for path in self.tars:
            outer = wnid_in(path.name)
            with TarReader(path) as tar:
                for sample in read_samples(tar, {"json"}, _LARGEST_JSON):
                    around = wnid_in(sample.tar.rpartition("/")[2]) or outer if sample.tar else outer
                    for member in sample.images():
                        name = _name(sample, member)
                        key = image_id(name)
                        if key is None:
                            example = example or member.name
                            continue
                        joined = True
                        if key in wanted.keys:
                            byte_range = ByteRange(str(path), member.offset, member.size)
                            yield Found(key, nearest_wnid(name, around), byte_range)
        if not joined and example:
            raise no_names(self.path, example)
        if not joined:
            raise InputError(f"{self.path} holds no images; check the path")


def _name(sample: Sample, member: Member) -> str:
    """Return the name to join on: the member's own, else the one in its JSON (as in timm's shards)."""
    if image_id(member.name) is not None:
        return member.name
    filename = (json_object(sample.contents.get("json", b"")) or {}).get("filename")
    return filename if isinstance(filename, str) else member.name


class ParquetImages:
    """An `ImageSource` over Parquet files; `path` is what the user gave, `tables` the files.

    Nothing in such a file can be read in place one by one, and its order is not ours, so one pass over it copies
    the wanted images to a file from which they are read later.
    """

    def __init__(self, path: Place, tables: Sequence[Place]) -> None:
        self.path = path
        self.tables = tables

    def find(self, wanted: ImageQuery, scratch: Path) -> Iterator[Found]:
        """Yield the wanted images in the order of files and rows; their bytes go to a file in `scratch`."""
        columns = {table: column for table in self.tables if (column := named_images(table))}
        if not columns:
            raise InputError(f"{self.path} has no column of images (bytes and path); check the path")
        example, absent, joined, found = "", "", False, False

        def take(path: str | None) -> bool:
            return wanted.bytes and path is not None and image_id(path) in wanted.keys

        with (scratch / "images").open("wb") as spool:
            for table, column in columns.items():
                for path, data in read_images(table, column, take):
                    if path is None or (key := image_id(path)) is None:
                        example = example or path or "null"
                        continue
                    joined = True
                    if key not in wanted.keys:
                        continue
                    part = _byte_range(table, path, data, spool) if wanted.bytes else ByteRange(str(table), 0, 0)
                    if part is None:
                        absent = absent or path
                    else:
                        found = True
                        yield Found(key, None, part)
        if absent and not found:
            raise paths_only(self.path, absent)
        if not joined:
            raise no_names(self.path, example) if example else InputError(f"{self.path} holds no images")


def _byte_range(table: Place, path: str, data: bytes | None, spool: BinaryIO) -> ByteRange | None:
    """Return where the bytes were copied to, or for a row without bytes the image file at its path."""
    if data is None:
        file = image_file(table, path)
        return None if file is None else ByteRange(str(file), 0, file.stat().st_size)
    offset = spool.tell()
    spool.write(data)
    return ByteRange(spool.name, offset, len(data))
