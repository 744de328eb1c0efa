"""Reading images from their byte ranges, and telling from an image's header and end whether it is usable."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.tables import field_of
from imagenet_captions.storage.places import fetch_together, is_url

# Twice Pillow's own limit, where it stops warning and refuses: the largest ILSVRC image has 26 million pixels.
MOST_PIXELS = 178_956_970

_MOST_OPEN = 256
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_START_OF_SCAN = 0xDA
_STAND_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

Integers = npt.NDArray[np.int64]
_Stamp = tuple[int, int, int]  # differs if another file took the place of one


class OpenFiles:
    """Reads byte ranges, and keeps the files open for the next one; pickling does not share the open files.

    A file of `paths` that is replaced afterwards is refused, because the ranges may hold other images then.
    """

    def __init__(self, paths: Iterable[str] = (), stamps: Mapping[str, _Stamp] | None = None) -> None:
        self._open: dict[str, int] = {}
        self._stamps = {path: _stamp(os.stat(path)) for path in paths} if stamps is None else dict(stamps)  # noqa: PTH116

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; raises InputError for a file that is gone, was replaced or is shorter."""
        try:
            data = os.pread(self._handle(path), size, offset)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
        if len(data) != size:
            raise _changed(path)
        return data

    def read_images(self, ranges: Sequence[ByteRange | None]) -> tuple[pa.Array, dict[int, str]]:
        """Return the images in these byte ranges, null for None, and the faults of broken ones, by position."""
        ends = [*accumulate((part.size if part else 0 for part in ranges), initial=0)]
        buffer, faults = pa.allocate_buffer(ends[-1]), {}
        whole = memoryview(buffer).cast("B")
        # Those behind URLs are requested together.
        remote = {at: part for at, part in enumerate(ranges) if part is not None and part.size and is_url(part.path)}
        fetched = dict(zip(remote, fetch_together(list(remote.values())), strict=True))
        for number, part in enumerate(ranges):
            if part is None:
                continue
            target = whole[ends[number] : ends[number + 1]]
            try:
                if number in fetched:
                    data = fetched.pop(number)
                    if len(data) != len(target):
                        raise _changed(part.path)
                    target[:] = data
                elif part.size and os.preadv(self._handle(part.path), [target], part.offset) != part.size:
                    raise _changed(part.path)
                fault = read_header(target).fault
            except OSError as error:
                fault = f"cannot be read: {error.strerror}"
            if fault is not None:
                faults[number] = fault
        present = pa.array([part is not None for part in ranges], pa.bool_())
        buffers = [present.buffers()[1] if None in ranges else None, pa.array(ends, pa.int32()).buffers()[1], buffer]
        return pa.Array.from_buffers(pa.binary(), len(ranges), buffers), faults

    def _handle(self, path: str) -> int:
        if path not in self._open:
            if len(self._open) >= _MOST_OPEN:
                self.close()
            self._open[path] = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if self._stamps.get(path) not in (None, _stamp(os.fstat(self._open[path]))):
                raise InputError(f"{path} was replaced since it was opened; run the same command again")
        return self._open[path]

    def close(self) -> None:
        """Close all files."""
        while self._open:
            os.close(self._open.popitem()[1])

    __del__ = close

    def __reduce__(self) -> tuple[type[OpenFiles], tuple[tuple[()], dict[str, _Stamp]]]:
        return OpenFiles, ((), self._stamps)


class FileImages:
    """Images as files or byte ranges of files: row i is `ranges[i]` (offset and size) of `paths[files[i]]`.

    Without `ranges`, row i is the whole file `paths[i]`. Paths are texts, or bytes if names may not be UTF-8. A process
    keeps a few files open, its own.
    """

    def __init__(
        self,
        paths: pa.Array | pa.ChunkedArray,
        files: npt.NDArray[np.int32] | None = None,
        ranges: Integers | None = None,
    ) -> None:
        self._paths, self._files, self._ranges = paths, files, ranges
        self._open = OpenFiles(() if files is None else map(os.fsdecode, paths.to_pylist()))

    def read(self, row: int) -> bytes:
        path = os.fsdecode(self._paths[row if self._files is None else int(self._files[row])].as_py())
        return _whole_file(path) if self._ranges is None else self._open.read(path, *self._ranges[row].tolist())


def _whole_file(path: str) -> bytes:
    try:
        with io.FileIO(path) as opened:  # without a path object and a buffer, which take three times as long
            return opened.readall()
    except OSError as error:
        raise InputError(f"the image {path} cannot be read: {error.strerror}; check the path") from None


class ColumnImages:
    """Images in the only column of a table in memory, or of a `datasets.Dataset`, whose cache every process maps.

    `rows` are those that have an image; where `files` is not null, it is that file and not in the column.
    """

    def __init__(self, data: Any, rows: Integers, files: pa.Array | None = None) -> None:
        self._data, self._rows, self._files = data, rows, files
        self._column = field_of(table_of(data).column(0), "bytes")

    def read(self, row: int) -> bytes:
        file = None if self._files is None else self._files[row].as_py()
        return bytes(self._column[int(self._rows[row])].as_buffer()) if file is None else _whole_file(file)

    def __reduce__(self) -> tuple[type[ColumnImages], tuple[Any, ...]]:
        return ColumnImages, (self._data, self._rows, self._files)


def table_of(data: Any) -> pa.Table:
    """Return the table of a `datasets.Dataset`, or the table that was given."""
    return data if isinstance(data, pa.Table) else data.data


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _changed(path: str) -> InputError:
    return InputError(f"{path} changed while it was read; let nothing write to it and run again")


def image_column(data: pa.Array, filenames: pa.ChunkedArray) -> pa.Array:
    """Return the column `image` of a dataset from the bytes of images and their file names; null where bytes are."""
    mask = data.is_null()
    # Not `if_else` with a null scalar, which mixes up the strings of a sliced column in pyarrow 15.
    paths = pc.replace_with_mask(filenames.combine_chunks(), mask, pa.scalar(None, pa.string()))
    return pa.StructArray.from_arrays([data, paths], ["bytes", "path"], mask=mask)


class Header(NamedTuple):
    """What the bytes of an image say without being decoded, so that a decompression bomb costs nothing."""

    fault: str | None
    size: tuple[int, int] | None = None  # width and height in pixels
    colors: int = 0  # components of a JPEG; 0 for anything else


def read_header(data: memoryview) -> Header:
    """Return what is wrong with the bytes of an image, if anything, and their size and colors.

    What they are called does not matter: ILSVRC-2012 has a PNG named JPEG, and CMYK.

    >>> read_header(memoryview(b"<html>429 Too Many Requests</html>")).fault
    'not an image'
    """
    if not len(data):
        return Header("zero bytes")
    # Nearly all are JPEGs whose markers are in order; Pillow takes 30 us and a copy to say the same of them.
    size, colors, scan = _jpeg_header(data)
    size = size or _size_by_pillow(data)
    if size is None:
        return Header("not an image", colors=colors)
    if size[0] * size[1] > MOST_PIXELS:
        return Header(f"more than {MOST_PIXELS:,} pixels", size, colors)
    # Bytes behind the end marker, such as padding, do not matter. A thumbnail in the EXIF has an end too, so only
    # one after the first scan's start counts; within a scan, 0xff is never followed by 0xd9 unless it is the end.
    if data[:2] == _SOI:
        has_end = scan < len(data) and (data[-2:] == _EOI or bytes(data).rfind(_EOI) > scan)
    else:
        has_end = bytes(data[:4]) != b"\x89PNG" or bytes(data).rfind(b"IEND") > 0
    return Header(None if has_end else "cut off before its end", size, colors)


def _jpeg_header(data: memoryview) -> tuple[tuple[int, int] | None, int, int]:
    """Return size and colors of a JPEG, None and 0 if its header lacks them, and the start of its first scan."""
    size, colors = None, 0
    at, end = len(_SOI), len(data)
    if data[:2] != _SOI:
        return None, 0, end
    while at + 4 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == _START_OF_SCAN:
            return size, colors, at
        elif marker in _STAND_ALONE:
            at += 2
        else:
            if marker in _START_OF_FRAME and at + 10 <= end:
                colors = data[at + 9]
                size = int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return size, colors, end


def _size_by_pillow(data: memoryview) -> tuple[int, int] | None:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of too many pixels, which the caller checks, and of broken EXIF
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                return image.size
    except Image.DecompressionBombError:
        return MOST_PIXELS, 2
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return None
