"""Images in Parquet, as in ILSVRC/imagenet-1k: a column of bytes and path, in shuffled order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.readers.parquet import image_file, named_images, paths_only, read_images
from imagenet_captions.images.sources.source import ByteRange, Found, ImageQuery, no_names


class ParquetImages:
    """An `ImageSource` over Parquet files; `path` is what the user gave, `tables` the files.

    Nothing in such a file can be read in place one by one, and its order is not ours, so one pass over it copies
    the wanted images to a file from which they are read later.
    """

    def __init__(self, path: Path, tables: Sequence[Path]) -> None:
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


def _byte_range(table: Path, path: str, data: bytes | None, spool: BinaryIO) -> ByteRange | None:
    """Where the bytes are from now on, or the file at the path that stands in the table without them."""
    if data is None:
        file = image_file(table, path)
        return None if file is None else ByteRange(str(file), 0, file.stat().st_size)
    offset = spool.tell()
    spool.write(data)
    return ByteRange(spool.name, offset, len(data))
