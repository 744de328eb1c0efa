"""The reader of Parquet with a column of images, as `datasets` writes it: bytes and a path in one struct.

Packaging, training and id lists read such files with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.images.readers import parquet_pages
from imagenet_captions.storage.parquet import parquet_file, read_schema
from imagenet_captions.storage.places import Place, is_remote

_ROWS_AT_ONCE = 64  # images in memory at a time, about 7 MB of ImageNet


def find_image_column(schema: pa.Schema, source: Place) -> str | None:
    """Return the first column of structs with a field `bytes`; None if there is none.

    Raises InputError if `bytes` holds something else, such as text.

    >>> find_image_column(pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()})}), Path("x"))
    'image'
    """
    for column in schema:
        if pa.types.is_struct(column.type) and (at := column.type.get_field_index("bytes")) >= 0:
            if not is_bytes(kind := column.type.field(at).type):
                raise InputError(
                    f"the column {quoted(column.name)} of {source} has {kind} where the bytes of images belong; "
                    "write the images themselves, as binary"
                )
            return str(column.name)
    return None


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold images; one without any value has the type null."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def image_file(table: Place, path: str | None) -> Path | None:
    """Return the image file at a path that a table has in place of bytes; None if the file does not exist.

    A relative path starts at the table's folder, or at the working directory.
    """
    if path is None or Path(path).suffix.lower() not in IMAGE_SUFFIXES or is_remote(table):
        return None
    return next((file for file in (table.absolute().parent / path, Path.cwd() / path) if file.is_file()), None)


def paths_only(source: Place, path: str) -> InputError:
    """Build the error for Parquet with paths of images that are not there."""
    return InputError(
        f"{source} holds paths of images and not the images, and {quoted(path)} is not an image file here; put the "
        "files in that place, give the folder of the images, or embed them as docs/reference/data.md shows"
    )


def bytes_in(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the bytes of a column of images, which may have paths beside them."""
    return struct_field(column, "bytes") if pa.types.is_struct(column.type) else column


def struct_field(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return one field of a column of structs; unlike `Array.field`, null where the whole struct is null."""
    kind = column.type.field(name).type
    return pa.chunked_array([pc.struct_field(chunk, name) for chunk in column.chunks], kind)


def named_images(table: Place) -> str | None:
    """Return the column of images that has a path beside the bytes, by which images are known; None for none."""
    schema = read_schema(table)
    column = find_image_column(schema, table)
    if column is None:
        return None
    kind = schema.field(column).type
    at = kind.get_field_index("path")
    return column if at >= 0 and is_text(kind.field(at).type) else None


def read_paths(table: Place, column: str) -> Iterator[pa.ChunkedArray]:
    """Yield the paths beside the images, a row group at a time; the images are not read."""
    with parquet_file(table) as opened:
        for group in range(opened.num_row_groups):
            read = opened.read_row_group(group, columns=[f"{column}.path"])
            yield struct_field(read[column], "path").cast(pa.string())


def read_images(
    table: Place, column: str, wanted: Callable[[str | None], bool]
) -> Iterator[tuple[str | None, bytes | None]]:
    """Yield every row's path, and its bytes if the path is wanted; a row group without wanted rows is not read."""
    with parquet_file(table) as opened:
        for group, found in enumerate(read_paths(table, column)):
            paths = found.to_pylist()
            take = [wanted(path) for path in paths]
            if not any(take):
                yield from ((path, None) for path in paths)
                continue
            at = 0
            for batch in opened.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[f"{column}.bytes"]):
                images = pc.struct_field(batch[column], "bytes")
                for row in range(len(batch)):
                    yield paths[at + row], images[row].as_py() if take[at + row] else None
                at += len(batch)


def byte_ranges(file: Place, column: str) -> npt.NDArray[np.int64]:
    """Return offset and size of every value of a column that is stored uncompressed; UnreadablePages for others."""
    return np.array(list(parquet_pages.byte_ranges(file, column)), np.int64).reshape(-1, 2)
