"""Images in tars, read in place: ILSVRC2012_img_train.tar, its inner tars, WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES, image_id
from imagenet_captions.images.sources.source import (
    ByteRange,
    Found,
    ImageQuery,
    nearest_wnid,
    no_names,
    wnid_in,
)

_LARGEST_JSON = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in a tar: its name, and where its bytes lie in the outermost file."""

    name: str
    offset: int
    size: int


@dataclass
class _Sample:
    """The members that share a key, as WebDataset puts them together: 00000017.jpg, 00000017.json."""

    key: str
    images: list[Member] = field(default_factory=list)
    description: Member | None = None


class TarImages:
    """An `ImageSource` over tars; `path` is what the user gave, `tars` the files."""

    def __init__(self, path: Path, tars: Sequence[Path]) -> None:
        self.path = path
        self.tars = tars

    def find(self, wanted: ImageQuery, scratch: Path) -> Iterator[Found]:
        """Yield the wanted members, tar by tar, in their order."""
        example, joined = "", False
        for tar in self.tars:
            with tar.open("rb") as opened:
                for around, sample in _samples(opened, tar):
                    for member in sample.images:
                        name = _name(opened, sample, member)
                        key = image_id(name)
                        if key is None:
                            example = example or member.name
                            continue
                        joined = True
                        if key in wanted.keys:
                            yield Found(
                                key, nearest_wnid(name, around), ByteRange(str(tar), member.offset, member.size)
                            )
        if not joined and example:
            raise no_names(self.path, example)
        if not joined:
            raise InputError(f"{self.path} holds no images; check the path")


def members(opened: BinaryIO, start: int, size: int, what: str) -> Iterator[Member]:
    """Yield the regular files of the tar in `opened[start:start + size]`, reading headers only.

    Raises InputError, naming `what`, for a tar that is cut off or damaged. tarfile itself ends without a word at a
    damaged header or a cut between two members, so the zero block that ends a tar is checked.
    """
    damaged = InputError(f"{what} is cut off or damaged; get it again")
    window = _Window(opened, start, size)
    try:
        with tarfile.open(fileobj=window, mode="r:") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # else every header stays in memory
                if info.offset_data + info.size > size:
                    raise damaged
                if info.isreg() and not info.issparse():
                    yield Member(info.name, start + info.offset_data, info.size)
            end = tar.offset
    except (tarfile.TarError, EOFError, ValueError, OverflowError):
        raise damaged from None
    window.seek(end)
    if window.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise damaged


def _samples(opened: BinaryIO, tar: Path) -> Iterator[tuple[str | None, _Sample]]:
    """Yield what lies in a tar or its inner tars, with the wnid that the tar is named for."""
    size = tar.stat().st_size
    around = wnid_in(tar.name)
    outside: list[Member] = []
    for member in members(opened, 0, size, f"the tar {tar}"):
        if member.name.lower().endswith(".tar"):
            inner = members(opened, member.offset, member.size, f"the tar {quoted(member.name)} in {tar}")
            wnid = wnid_in(member.name.rpartition("/")[2]) or around
            for sample in _grouped(inner):
                yield wnid, sample
            continue
        key = _key(member.name)
        if outside and _key(outside[-1].name) != key:
            for sample in _grouped(iter(outside)):
                yield around, sample
            outside = []
        outside.append(member)
    for sample in _grouped(iter(outside)):
        yield around, sample


def _grouped(found: Iterator[Member]) -> Iterator[_Sample]:
    sample = _Sample("")
    for member in found:
        key = _key(member.name)
        if key != sample.key:
            yield sample
            sample = _Sample(key)
        suffix = member.name[len(key) :].lower()
        if suffix in IMAGE_SUFFIXES:
            sample.images.append(member)
        elif suffix == ".json":
            sample.description = member
    yield sample


def _key(name: str) -> str:
    """WebDataset's key: the name up to the first dot after the last slash."""
    base = name.rfind("/") + 1
    dot = name.find(".", base)
    return name if dot < 0 else name[:dot]


def _name(opened: BinaryIO, sample: _Sample, member: Member) -> str:
    """The name to join on: the member's own, else the one that its JSON gives (as in timm's shards)."""
    described = sample.description
    if image_id(member.name) is not None or described is None or described.size > _LARGEST_JSON:
        return member.name
    opened.seek(described.offset)
    try:
        content = json.loads(opened.read(described.size))
    except (ValueError, RecursionError):
        return member.name
    filename = content.get("filename") if isinstance(content, dict) else None
    return filename if isinstance(filename, str) else member.name


class _Window(io.RawIOBase):
    """A stretch of a file, as a file of its own."""

    def __init__(self, opened: BinaryIO, start: int, size: int) -> None:
        self._opened = opened
        self._start = start
        self._size = size
        self._at = 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        self._opened.seek(self._start + self._at)
        data = self._opened.read(left if size < 0 else min(size, left))
        self._at += len(data)
        return data
