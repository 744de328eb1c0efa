"""The reader of the bytes of images from their byte ranges, for packaging, shuffled copies and exports."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.images.headers import fault_of
from imagenet_captions.images.sources import ByteRange
from imagenet_captions.storage.places import is_url
from imagenet_captions.storage.remote import fetch_together, open_url


class ImageReader:
    """Reads byte ranges, and keeps the last file open, since neighbors often lie in one tar."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._opened: io.FileIO | None = None

    def read(self, ranges: Sequence[ByteRange | None]) -> tuple[pa.Array, dict[int, str]]:
        """Return the images in these byte ranges, null for None, and the faults of broken ones.

        All go into one buffer of their total size, and the array uses it without a copy.
        """
        sizes = [part.size if part else 0 for part in ranges]
        ends = np.cumsum([0, *sizes], dtype=np.int64)
        buffer = pa.allocate_buffer(int(ends[-1]))
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
        present = pa.array([part is not None for part in ranges], pa.bool_())
        offsets = pa.py_buffer(ends.astype(np.int32))
        validity = present.buffers()[1] if None in ranges else None
        return pa.Array.from_buffers(pa.binary(), len(ranges), [validity, offsets, buffer]), faults

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
