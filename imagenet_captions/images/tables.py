"""Tables with images: Parquet with a column of images, as `datasets` writes it, and CSV or TSV that names files."""

from __future__ import annotations

import csv
import mmap
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.images.files import ByteRange
from imagenet_captions.storage.parquet import ParquetFile, read_metadata, read_schema, read_table
from imagenet_captions.storage.places import Place, is_remote
from imagenet_captions.storage.progress import open_watched

_ROWS_AT_ONCE = 64  # images in memory at a time, about 7 MB of ImageNet
_LONGEST_HEADER = 1 << 20
# Of a page's header (parquet.thrift): the ids of fields, and the kinds of Thrift's compact protocol.
_PAGE_TYPE, _COMPRESSED_SIZE, _DATA_PAGE_HEADER, _ENCODING = 1, 3, 5, 2
_DATA_PAGE, _PLAIN = 0, 0
_FIXED, _INTEGERS, _BINARY, _STRUCT = {1: 0, 2: 0, 3: 1, 7: 8}, (4, 5, 6), 8, 12
_LENGTH = 4  # bytes before each value


def find_image_column(schema: pa.Schema) -> str | None:
    """Return the first column of structs whose field `bytes` can hold images; None if there is none."""
    for column in schema:
        at = column.type.get_field_index("bytes") if pa.types.is_struct(column.type) else -1
        if at >= 0 and is_bytes(column.type.field(at).type):
            return str(column.name)
    return None


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold images; one without any value has the type null."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind))


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


def field_of(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    """Return one field of a column of structs, null where the struct is null; a column of bytes is its own `bytes`."""
    if not pa.types.is_struct(column.type):
        return column
    return pa.chunked_array([pc.struct_field(chunk, name) for chunk in column.chunks], column.type.field(name).type)


def named_images(table: Place) -> str | None:
    """Return the column of images that has a path beside the bytes, by which images are known; None for none."""
    schema = read_schema(table)
    column = find_image_column(schema)
    named = column is not None and schema.field(column).type.get_field_index("path") >= 0
    return column if named else None


def read_images(
    table: Place, column: str, wanted: Callable[[str | None], bool]
) -> Iterator[tuple[str | None, bytes | None]]:
    """Yield every row's path, and its bytes if the path is wanted; a row group without wanted rows is not read."""
    with ParquetFile(table) as opened:
        for group in range(opened.num_row_groups):
            paths = field_of(opened.read_row_group(group, columns=[f"{column}.path"])[column], "path").to_pylist()
            take = [wanted(path) for path in paths]
            if not any(take):
                yield from ((path, None) for path in paths)
                continue
            at = 0
            for batch in opened.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[f"{column}.bytes"]):
                for row, data in enumerate(pc.struct_field(batch[column], "bytes"), at):
                    yield paths[row], data.as_py() if take[row] else None
                at += len(batch)


class UnreadablePages(Exception):
    """The column is not stored in the one way that is understood here: plain, uncompressed pages."""


def images_in_place(file: Place, column: str) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """Return the paths in a column of images, and offset and size of each image, so that it is read alone.

    A library decodes whole row groups, with hundreds of images. In our shards an image's bytes stand as they are, each
    behind its length, so it is enough to walk over the pages' headers and the lengths
    (https://parquet.apache.org/docs/file-format/data-pages/). Raises UnreadablePages for a column that is not there or
    is stored in another way, and where images lack paths: the pages do not tell which rows have one. Of a file behind a
    URL the column is requested, a row group at a time.
    """
    metadata, leaf = read_metadata(file), f"{column}.bytes"
    leaves = [at for at in range(metadata.num_columns) if metadata.schema.column(at).path == leaf]
    chunks = [metadata.row_group(group).column(at) for at in leaves for group in range(metadata.num_row_groups)]
    if not leaves or any(chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page for chunk in chunks):
        raise UnreadablePages
    nullable = metadata.schema.column(leaves[0]).max_definition_level > 0
    found: list[tuple[int, int]] = []
    try:
        for start, size in ((chunk.data_page_offset, chunk.total_compressed_size) for chunk in chunks):
            if is_remote(file):
                values = _values_in(file.fetch(start, start + size), 0, size, nullable)
                found += [(start + at, length) for at, length in values]
            else:
                with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                    found += _values_in(mapped, start, size, nullable)
        paths = field_of(read_table(file, [f"{column}.path"])[column], "path").combine_chunks()
    except (IndexError, KeyError):
        raise UnreadablePages from None
    if len(paths) - paths.null_count != len(found):
        raise UnreadablePages
    return paths, np.array(found, np.int64).reshape(-1, 2)


def _values_in(file: mmap.mmap | bytes, start: int, size: int, nullable: bool) -> Iterator[tuple[int, int]]:
    at, end = start, start + size
    while at < end:
        header, at = _struct(file, at)
        page = header.get(_DATA_PAGE_HEADER)
        if header.get(_PAGE_TYPE) != _DATA_PAGE or not isinstance(page, dict) or page.get(_ENCODING) != _PLAIN:
            raise UnreadablePages
        stop = at + int(header[_COMPRESSED_SIZE])
        if nullable:  # the page begins with levels
            at += _LENGTH + _length(file, at)
        while at < stop:
            length = _length(file, at)
            yield at + _LENGTH, length
            at += _LENGTH + length
        if at != stop:
            raise UnreadablePages


def _length(file: mmap.mmap | bytes, at: int) -> int:
    return int.from_bytes(file[at : at + _LENGTH], "little")


def _struct(file: mmap.mmap | bytes, at: int) -> tuple[dict[int, Any], int]:
    """Return a Thrift struct's whole numbers and structs by field, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while kind := file[at] & 15:
        step, at = file[at] >> 4, at + 1
        number, at = (number + step, at) if step else _integer(file, at)
        if kind in _FIXED:
            at += _FIXED[kind]
        elif kind in _INTEGERS:
            fields[number], at = _integer(file, at)
        elif kind == _STRUCT:
            fields[number], at = _struct(file, at)
        elif kind == _BINARY:
            length, at = _varint(file, at)
            at += length
        else:
            raise UnreadablePages
    return fields, at + 1


def _integer(file: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    value, at = _varint(file, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(file: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := file[at]) >= 128:
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
    return value | byte << shift, at + 1


def byte_ranges_in_shards(shards: Sequence[Place]) -> dict[str, ByteRange]:
    """Return the byte range of each image in a dataset's shards, by image id; InputError for shards not written so."""
    found: dict[str, ByteRange] = {}
    for shard in shards:
        try:
            paths, ranges = images_in_place(shard, "image")
        except UnreadablePages:
            raise InputError(
                f"the images in {shard} are damaged, which `imagenet-captions verify {shard.parent.parent}` tells, or "
                "not stored as this version stores them; package the dataset again"
            ) from None
        name, ids = str(shard), read_table(shard, ["image_id"])["image_id"].filter(paths.is_valid()).to_pylist()
        found |= {key: ByteRange(name, *each) for key, each in zip(ids, ranges.tolist(), strict=True)}
    return found


class SeparatedTable:
    """A CSV or TSV file with a header line, read by pandas as open_clip does; every column is text.

    `skipped` counts the lines with more fields than the header; it is complete once `batches` is used up. The fields
    that a line lacks are empty.
    """

    def __init__(self, path: Place) -> None:
        self._path, self.skipped = path, Counter[str]()
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as opened:
            header = opened.readline(_LONGEST_HEADER)
        self._separator = "\t" if "\t" in header else ","  # open_clip calls its files .csv and separates them by tabs
        names = next(csv.reader([header], delimiter=self._separator), [])
        if not names or len(set(names)) < len(names):
            raise InputError(f"{path} has no header with a name for each column; add one as its first line")
        self.schema = pa.schema([pa.field(name, pa.string()) for name in names])

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield batches of at most so many rows. Raises InputError for what pandas cannot read."""
        import pandas as pd

        try:
            with (
                open_watched(self._path, f"read {self._path.name}") as opened,
                pd.read_csv(
                    opened, sep=self._separator, header=0, names=self.schema.names, index_col=False, dtype=str,
                    keep_default_na=False, encoding="utf-8-sig", encoding_errors="replace", on_bad_lines="warn",
                    chunksize=rows,
                ) as read,
            ):  # fmt: skip
                while True:
                    with warnings.catch_warnings(record=True) as warned:
                        warnings.simplefilter("always", pd.errors.ParserWarning)
                        part = next(read, None)
                    for warning in warned:
                        skipped = str(warning.message).count("Skipping line ")
                        if issubclass(warning.category, pd.errors.ParserWarning) and not skipped:
                            raise pd.errors.ParserError(str(warning.message))  # lines were cut short
                        self.skipped["more fields than the header"] += skipped
                    if part is None:
                        return
                    yield pa.RecordBatch.from_pandas(part, self.schema, preserve_index=False)
        except pd.errors.ParserError as error:
            raise InputError(
                f"{self._path} cannot be read ({shortened(error, 200)}); a quote mark may be open, or a caption that "
                "holds the separator may lack its quotes"
            ) from None

    def require_all(self) -> None:
        """Raise InputError if lines were skipped; call it once `batches` is used up."""
        if self.skipped:
            raise InputError(
                f"{self._path} has {self.skipped.total():,} lines with more fields than its header; put captions that "
                "hold the separator in quotes"
            )
