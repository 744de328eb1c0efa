"""Where the values of an uncompressed Parquet column lie in the file, so that any one of them can be read alone.

A library decodes whole row groups. In our shards an image's bytes stand as they are (no compression, no dictionary),
each behind its length, so it is enough to walk over the pages' headers and the lengths. The format:
https://parquet.apache.org/docs/file-format/data-pages/ and Thrift's compact protocol for the headers.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any

from imagenet_captions.storage.parquet import read_metadata
from imagenet_captions.storage.places import Place, is_remote

# Field ids of a PageHeader, and the kinds of Thrift's compact protocol.
_PAGE_TYPE, _COMPRESSED_SIZE, _DATA_PAGE_HEADER = 1, 3, 5
_DATA_PAGE = 0
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _STRUCT = 1, 2, 3, 7, 8, 12
_INTEGERS = frozenset({4, 5, 6})
_ENCODING, _PLAIN = 2, 0
_LENGTH = 4


class UnreadablePages(Exception):
    """The column is not stored in the one way that is understood here."""


def byte_ranges(file: Place, column: str) -> Iterator[tuple[int, int]]:
    """Yield offset and size of every value of a column that is not null, in order.

    Of a file behind a URL the column is requested, a row group at a time: the lengths lie between the values. Raises
    UnreadablePages for a column that is not there, or is stored in another way.
    """
    metadata = read_metadata(file)
    leaves = [at for at in range(metadata.num_columns) if metadata.schema.column(at).path == column]
    if not leaves:
        raise UnreadablePages
    nullable = metadata.schema.column(leaves[0]).max_definition_level > 0
    chunks = [metadata.row_group(group).column(leaves[0]) for group in range(metadata.num_row_groups)]
    if any(chunk.compression != "UNCOMPRESSED" or chunk.has_dictionary_page for chunk in chunks):
        raise UnreadablePages
    spans = [(chunk.data_page_offset, chunk.total_compressed_size) for chunk in chunks]
    if is_remote(file):
        for start, size in spans:
            found = values_in(file.fetch(start, start + size), 0, size, nullable)
            yield from ((start + offset, length) for offset, length in found)
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        for start, size in spans:
            yield from values_in(mapped, start, size, nullable)


def values_in(file: mmap.mmap | bytes, start: int, size: int, nullable: bool) -> Iterator[tuple[int, int]]:
    """Yield offset and size of every value of a column chunk that is not null, in order.

    `start` and `size` are those of the chunk; `nullable` says whether its pages begin with levels. Raises
    UnreadablePages for pages of another kind than plain ones of the first version.
    """
    at, end = start, start + size
    while at < end:
        header, at = _struct(file, at)
        page = header.get(_DATA_PAGE_HEADER)
        if header.get(_PAGE_TYPE) != _DATA_PAGE or not isinstance(page, dict) or page.get(_ENCODING) != _PLAIN:
            raise UnreadablePages
        stop = at + int(header[_COMPRESSED_SIZE])
        if nullable:
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
    """A Thrift struct's fields by id, and where it ends; texts in it are passed over."""
    fields: dict[int, Any] = {}
    number = 0
    while kind := file[at] & 15:
        step, at = file[at] >> 4, at + 1
        if step:
            number += step
        else:
            number, at = _integer(file, at)
        if kind in (_TRUE, _FALSE):
            fields[number] = kind == _TRUE
        elif kind in _INTEGERS:
            fields[number], at = _integer(file, at)
        elif kind == _STRUCT:
            fields[number], at = _struct(file, at)
        elif kind == _BINARY:
            length, at = _varint(file, at)
            at += length
        elif kind in (_BYTE, _DOUBLE):
            at += 1 if kind == _BYTE else 8
        else:
            raise UnreadablePages
    return fields, at + 1


def _integer(file: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    value, at = _varint(file, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(file: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = file[at], at + 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
