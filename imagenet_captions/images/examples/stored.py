"""Images and texts stored in Arrow columns and byte ranges of files; every layout is opened with these."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import IMAGE_ENDING, WNID
from imagenet_captions.images.examples.example import Integers, Reader, Texts
from imagenet_captions.images.readers.parquet import bytes_in

TEXTS = ("title", "description", "tags", "caption")
_MOST_OPEN = 256
# A canonical id below any folders; ILSVRC/imagenet-1k repeats the class behind it.
_IMAGENET_NAME = rf"^(?:.*[/\\])?({WNID}_[0-9]{{1,9}})(?:_{WNID})?{IMAGE_ENDING}?$"
_ENDING = f"{IMAGE_ENDING}$"


@dataclass(frozen=True)
class TextColumns:
    """Texts in Arrow columns, any of TEXTS; tags are a list or one text."""

    columns: dict[str, Any]

    def read(self, row: int) -> Texts:
        found = {name: value for name, column in self.columns.items() if (value := column[row].as_py())}
        if "tags" in found:
            found["tags"] = (found["tags"],) if isinstance(found["tags"], str) else tuple(found["tags"])
        return Texts(**found)


_Stamp = tuple[int, int, int]  # differs if another file took the place of one


class FileImages:
    """Images as files or byte ranges of files: row i is `sizes[i]` bytes at `offsets[i]` of `paths[files[i]]`.

    Without `files`, row i is the whole file `paths[i]`. Paths are texts, or bytes if names may not be UTF-8. A process
    keeps a few files open, its own.
    """

    def __init__(
        self,
        paths: pa.Array | pa.ChunkedArray,
        files: npt.NDArray[np.int32] | None = None,
        offsets: Integers | None = None,
        sizes: Integers | None = None,
    ) -> None:
        self._paths, self._files, self._offsets, self._sizes = paths, files, offsets, sizes
        self._open = OpenFiles(() if files is None else map(os.fsdecode, paths.to_pylist()))

    def read(self, row: int) -> bytes:
        if self._files is None or self._offsets is None or self._sizes is None:
            return _whole_file(os.fsdecode(self._paths[row].as_py()))
        path = os.fsdecode(self._paths[int(self._files[row])].as_py())
        return self._open.read(path, int(self._offsets[row]), int(self._sizes[row]))


class BesideImages:
    """Images of which some are separate files and the others stored, in the order of the rows."""

    def __init__(self, stored: Reader[bytes], files: pa.Array) -> None:
        self._stored, self._files = stored, files
        self._places = np.cumsum(np.asarray(files.is_null())) - 1

    def read(self, row: int) -> bytes:
        file = self._files[row].as_py()
        return self._stored.read(int(self._places[row])) if file is None else _whole_file(file)


class OpenFiles:
    """Reads byte ranges and keeps the files open for the next one; pickling does not share the open files.

    A file that was replaced since its ranges were found is refused, because the ranges may hold other images now.
    """

    def __init__(self, paths: Iterable[str] = (), stamps: Mapping[str, _Stamp] | None = None) -> None:
        self._open: dict[str, int] = {}
        self._stamps = {path: _stamp(os.stat(path)) for path in paths} if stamps is None else dict(stamps)  # noqa: PTH116

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`; raises InputError if the file is gone or shorter."""
        try:
            data = os.pread(self._handle(path), size, offset)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror}; check the path") from None
        if len(data) != size:
            raise InputError(f"{path} became shorter since it was opened; start again")
        return data

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

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[OpenFiles], tuple[tuple[()], dict[str, _Stamp]]]:
        return OpenFiles, ((), self._stamps)


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_size, found.st_mtime_ns


class ColumnImages:
    """Images in an Arrow column of bytes, in memory; row i is `column[rows[i]]`."""

    def __init__(self, column: pa.ChunkedArray, rows: Integers) -> None:
        self._column, self._rows = column, rows

    def read(self, row: int) -> bytes:
        return bytes(self._column[int(self._rows[row])].as_buffer())


class CachedImages(ColumnImages):
    """Images in the cache of `datasets`, a file that every process maps; pickling sends its name alone."""

    def __init__(self, dataset: Any, rows: Integers) -> None:
        (name,) = dataset.column_names
        super().__init__(bytes_in(dataset.data[name]), rows)
        self._dataset = dataset

    def __reduce__(self) -> tuple[type[CachedImages], tuple[Any, Integers]]:
        return CachedImages, (self._dataset, self._rows)


def ids_of(names: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the ids in paths or keys: ImageNet's if a name has one, else the name without an image's ending.

    >>> ids_of(pa.array(["train/n01440764/n01440764_10026.JPEG", "dogs/1.png", "00017"])).to_pylist()
    ['n01440764_10026', 'dogs/1', '00017']
    """
    return pc.replace_substring_regex(pc.replace_substring_regex(names, _IMAGENET_NAME, r"\1"), _ENDING, "")


def _whole_file(path: str) -> bytes:
    try:
        with io.FileIO(path) as opened:  # without a path object and a buffer, which take three times as long
            return opened.readall()
    except OSError as error:
        raise InputError(f"the image {path} cannot be read: {error.strerror}; check the path") from None
