"""The reader of the bytes of images from their byte ranges, for packaging, shuffled copies and exports."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.images.headers import fault_of
from imagenet_captions.images.sources import ByteRange
from imagenet_captions.storage.places import fetch_together, is_url, open_url

_ROOM = 4  # a new buffer is larger by this part, so that a few rounds find the largest


class ImageReader:
    """Reads byte ranges, and keeps the last file open, since neighbors often lie in one tar.

    The images of a call go into one buffer. Two buffers take turns, because a new one costs as much time as reading
    into it: the kernel clears every page. So what a call returned is valid until the next call but one.
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._opened: io.FileIO | None = None
        self._buffers = [pa.allocate_buffer(0), pa.allocate_buffer(0)]

    def read(self, ranges: Sequence[ByteRange | None]) -> tuple[pa.Array, dict[int, str]]:
        """Return the images in these byte ranges, null for None, and the faults of broken ones."""
        ends, buffer, faults = self._read(ranges)
        present = pa.array([part is not None for part in ranges], pa.bool_())
        validity = present.buffers()[1] if None in ranges else None
        offsets = pa.py_buffer(ends.astype(np.int32))
        return pa.Array.from_buffers(pa.binary(), len(ranges), [validity, offsets, buffer]), faults

    def views(self, ranges: Sequence[ByteRange]) -> tuple[list[memoryview], dict[int, str]]:
        """Return the images as views of the buffer, and the faults of broken ones."""
        ends, buffer, faults = self._read(ranges)
        view = memoryview(buffer).cast("B")
        return [view[start:stop] for start, stop in pairwise(ends.tolist())], faults

    def _read(self, ranges: Sequence[ByteRange | None]) -> tuple[npt.NDArray[np.int64], pa.Buffer, dict[int, str]]:
        """Return the ends of the images in a buffer, from 0 on, the buffer, and the faults of broken ones."""
        ends = np.cumsum([0, *(part.size if part else 0 for part in ranges)], dtype=np.int64)
        buffer = self._next_buffer(int(ends[-1]))
        view = memoryview(buffer).cast("B")
        faults = {}
        fetched = _fetched(ranges)
        for number, part in enumerate(ranges):
            if part is not None:
                target = view[int(ends[number]) : int(ends[number + 1])]
                fault = None
                if number in fetched:
                    target[:] = fetched.pop(number)
                else:
                    fault = self._fill(target, part)
                if fault := fault or fault_of(target):
                    faults[number] = fault
        return ends, buffer, faults

    def _next_buffer(self, size: int) -> pa.Buffer:
        buffer = self._buffers.pop(0)
        self._buffers.append(buffer if buffer.size >= size else pa.allocate_buffer(size + size // _ROOM))
        return self._buffers[-1]

    def close(self) -> None:
        """Close the file that is open."""
        if self._opened is not None:
            self._opened.close()
        self._path = self._opened = None

    def _fill(self, target: memoryview, part: ByteRange) -> str | None:
        if not part.size:
            return None
        try:
            opened = self._open(part.path)
            opened.seek(part.offset)
            done = 0
            while done < len(target) and (count := opened.readinto(target[done:])):
                done += count
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if done < len(target):
            raise _changed(part)
        return None

    def _open(self, path: str) -> io.FileIO:
        if self._opened is None or path != self._path:
            self.close()
            self._opened, self._path = io.FileIO(path), path
        return self._opened


def image_column(data: pa.Array, filenames: pa.ChunkedArray) -> pa.Array:
    """Return the column `image` of a dataset from the bytes of images and their file names; null where bytes are."""
    mask = data.is_null()
    # Not `if_else` with a null scalar, which mixes up the strings of a sliced column in pyarrow 15.
    paths = pc.replace_with_mask(filenames.combine_chunks(), mask, pa.scalar(None, pa.string()))
    return pa.StructArray.from_arrays([data, paths], ["bytes", "path"], mask=mask)


def _fetched(ranges: Sequence[ByteRange | None]) -> dict[int, bytes]:
    """Return the images behind URLs, requested together."""
    remote = {at: part for at, part in enumerate(ranges) if part is not None and part.size and is_url(part.path)}
    files = {path: open_url(path) for path in {part.path for part in remote.values()}}
    requests = [(files[part.path], part.offset, part.offset + part.size) for part in remote.values()]
    fetched = dict(zip(remote, fetch_together(requests), strict=True))
    for number, data in fetched.items():
        if len(data) != remote[number].size:
            raise _changed(remote[number])
    return fetched


def _changed(part: ByteRange) -> InputError:
    return InputError(f"{part.path} changed while it was read; let nothing write to it and run again")
