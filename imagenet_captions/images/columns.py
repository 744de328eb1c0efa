"""The column of images in a Parquet file, as `datasets` writes it: bytes and a path in one struct."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.storage.places import is_remote


def find_image_column(schema: pa.Schema, source: Path) -> str | None:
    """The first column of structs that have `bytes`; None if there is none.

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


def image_file(table: Path, path: str | None) -> Path | None:
    """The image file at a path that stands in a table in place of the bytes; None if none is there.

    A relative path is one from the table's folder, or from the working directory.
    """
    if path is None or Path(path).suffix.lower() not in IMAGE_SUFFIXES or is_remote(table):
        return None
    return next((file for file in (table.absolute().parent / path, Path.cwd() / path) if file.is_file()), None)


def paths_only(source: Path, path: str) -> InputError:
    """The error for Parquet that names images which are not there."""
    return InputError(
        f"{source} holds paths of images and not the images, and {quoted(path)} is not an image file here; put the "
        "files in that place, give the folder of the images, or embed them as docs/reference/data.md shows"
    )
