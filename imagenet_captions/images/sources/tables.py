"""Images in Parquet, as in ILSVRC/imagenet-1k: a column of bytes and path, in shuffled order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.columns import find_image_column, image_file, is_text, paths_only
from imagenet_captions.images.sources.source import ByteRange, Found, ImageQuery, no_names
from imagenet_captions.storage.parquet import parquet_file

_ROWS_AT_ONCE = 64  # images in memory at a time, about 7 MB of ImageNet


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
        columns = {table: column for table in self.tables if (column := _image_column(table))}
        if not columns:
            raise InputError(f"{self.path} has no column of images (bytes and path); check the path")
        example, absent, joined, found = "", "", False, False
        with (scratch / "images").open("wb") as spool:
            for table, column in columns.items():
                for path, data in _images(table, column, wanted):
                    if path is None or (key := image_id(path)) is None:
                        example = example or path or "null"
                        continue
                    joined = True
                    if key not in wanted.keys:
                        continue
                    if (
                        part := _byte_range(table, path, data, spool) if wanted.bytes else ByteRange(str(table), 0, 0)
                    ) is None:
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


def _image_column(table: Path) -> str | None:
    with parquet_file(table) as opened:
        schema = opened.schema_arrow
    column = find_image_column(schema, table)
    kind = None if column is None else schema.field(column).type
    named = kind is not None and (at := kind.get_field_index("path")) >= 0 and is_text(kind.field(at).type)
    return column if named else None


def _images(table: Path, column: str, wanted: ImageQuery) -> Iterator[tuple[str | None, bytes | None]]:
    """Yield every row's path, and its bytes if it is wanted; a row group without wanted rows is not read."""
    with parquet_file(table) as opened:
        for group in range(opened.num_row_groups):
            named = opened.read_row_group(group, columns=[f"{column}.path"])
            paths: list[str | None] = named[column].combine_chunks().field("path").to_pylist()
            if not wanted.bytes or not any(path is not None and image_id(path) in wanted.keys for path in paths):
                yield from ((path, None) for path in paths)
                continue
            rows = opened.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[f"{column}.bytes"])
            at = 0
            for batch in rows:
                images = batch[column].field("bytes")
                for number, path in enumerate(paths[at : at + len(batch)]):
                    take = path is not None and image_id(path) in wanted.keys
                    yield path, images[number].as_py() if take else None
                at += len(batch)
