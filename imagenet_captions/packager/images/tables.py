"""Images in Parquet, as in ILSVRC/imagenet-1k: a column of bytes and path, in shuffled order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.image_ids import image_id
from imagenet_captions.packager.images.source import Found, Place, Wanted, no_names
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

    def find(self, wanted: Wanted, scratch: Path) -> Iterator[Found]:
        """Yield the wanted images in the order of files and rows; their bytes go to a file in `scratch`."""
        columns = {table: column for table in self.tables if (column := _image_column(table))}
        if not columns:
            raise InputError(f"{self.path} has no column of images (bytes and path); check the path")
        example, joined = "", False
        with (scratch / "images").open("wb") as spool:
            for table, column in columns.items():
                for path, data in _images(table, column, wanted):
                    if path is None or (key := image_id(path)) is None:
                        example = example or path or "null"
                        continue
                    joined = True
                    if data is not None:
                        yield Found(key, None, _append(spool, data))
                    elif not wanted.bytes and key in wanted.keys:
                        yield Found(key, None, Place(str(table), 0, 0))
        if not joined:
            raise no_names(self.path, example) if example else InputError(f"{self.path} holds no images")


def _append(spool: BinaryIO, data: bytes) -> Place:
    offset = spool.tell()
    spool.write(data)
    return Place(spool.name, offset, len(data))


def _image_column(table: Path) -> str | None:
    with _reading(table), parquet_file(table) as opened:
        for field in opened.schema_arrow:
            kind = field.type
            if pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(i).name for i in range(kind.num_fields)}:
                return str(field.name)
    return None


def _images(table: Path, column: str, wanted: Wanted) -> Iterator[tuple[str | None, bytes | None]]:
    """Yield every row's path, and its bytes if it is wanted; a row group without wanted rows is not read."""
    with _reading(table), parquet_file(table) as opened:
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


@contextmanager
def _reading(table: Path) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into one sentence."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the system's, such as a full disk; pyarrow's own word for damage has no number
        raise InputError(f"the Parquet file {table} is cut off or damaged; get it again") from None
