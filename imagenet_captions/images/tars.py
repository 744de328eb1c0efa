"""Plain tars: where each file in them lies, so that it is read in place; and the samples of WebDataset."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.images.files import Kind, compressed, kind_of
from imagenet_captions.storage.places import Place

_LONGEST_NUMBER = 17  # digits; more are not a number of 64 bits


class Member(NamedTuple):
    """A regular file in a tar: its name, and where its bytes lie in the outermost file."""

    name: str
    offset: int
    size: int


class TarReader:
    """An open tar; Python's `tarfile` finds the members."""

    def __init__(self, path: Place) -> None:
        self.path, self._opened = path, path.open("rb")

    def __enter__(self) -> TarReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def read(self, offset: int, size: int) -> bytes:
        """Return bytes from an offset on, fewer at the end of the file."""
        self._opened.seek(offset)
        return self._opened.read(size)

    def members(self) -> Iterator[tuple[str | None, Member]]:
        """Yield the files in order, each with the name of the inner tar that it lies in, or None.

        ILSVRC2012_img_train.tar is a tar of one tar for each class. Raises InputError for a file that is not a plain
        tar, is cut off or damaged.
        """
        for member in self._members(0, self.path.stat().st_size, str(self.path)):
            if member.name.lower().endswith(".tar"):
                what = f"{quoted(member.name)} in {self.path}"
                for inner in self._members(member.offset, member.offset + member.size, what):
                    yield member.name, inner
            else:
                yield None, member

    def _members(self, start: int, stop: int, what: str) -> Iterator[Member]:
        self._opened.seek(start)
        at = start
        try:
            with tarfile.TarFile(fileobj=self._opened, encoding="utf-8", errors="replace") as tar:
                while (info := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # else it keeps a gigabyte for ImageNet
                    at = info.offset
                    if info.issparse():
                        raise InputError(f"{what} holds sparse files; unpack it, and make a plain tar of the files")
                    if info.size < 0 or info.offset_data + info.size * info.isreg() > stop:
                        raise self._damaged(at, what)
                    if info.isreg():
                        yield Member(info.name, info.offset_data, info.size)
                at = tar.offset
        except (tarfile.TarError, ValueError, OverflowError):  # the latter two for numbers that no tar has
            raise self._damaged(at, what) from None
        # A whole tar ends in a block of zeros; tarfile takes damage between members for the end.
        if at + tarfile.BLOCKSIZE > stop or any(self.read(at, tarfile.BLOCKSIZE)):
            raise self._damaged(at, what)

    def _damaged(self, at: int, what: str) -> InputError:
        if kind_of(self.path) is Kind.COMPRESSED:
            return compressed(self.path)
        if at == 0:
            return InputError(f"{what} is not a tar, or is cut off or damaged at its start; give a whole, plain .tar")
        return InputError(f"the tar {what} is cut off or damaged at byte {at:,}; get it again")


@dataclass
class Sample:
    """The members that share a key, as WebDataset puts them together: 00000017.jpg, 00000017.json."""

    key: str
    tar: str | None = None  # the inner tar around them
    members: dict[str, Member] = field(default_factory=dict)  # by suffix, in lower case
    contents: dict[str, bytes] = field(default_factory=dict)  # of those that the reader asked for

    def images(self) -> list[Member]:
        """Return the members whose suffixes are those of images."""
        return [member for suffix, member in self.members.items() if f".{suffix}" in IMAGE_SUFFIXES]

    def label(self) -> int | None:
        """Return the number in the .cls that was read; None without one, or for anything else in it."""
        digits = self.contents.get("cls", b"").strip()
        return int(digits) if digits.isdigit() and len(digits) <= _LONGEST_NUMBER else None


def read_samples(tar: TarReader, contents: Container[str] = (), largest: int = 0) -> Iterator[Sample]:
    """Yield the members grouped by key, which ends at the first dot of a file's name; hidden files are left out.

    Members with the suffixes `contents` of at most `largest` bytes are read; of two with one suffix the first counts.
    """
    sample = Sample("")
    for inner, member in tar.members():
        folder, slash, base = member.name.rpartition("/")
        stem, dot, suffix = base.partition(".")
        if not (stem and dot):
            continue
        key, suffix = folder + slash + stem, suffix.lower()
        if (key, inner) != (sample.key, sample.tar):
            if sample.members:
                yield sample
            sample = Sample(key, inner)
        if suffix not in sample.members:
            sample.members[suffix] = member
            if suffix in contents and member.size <= largest:
                sample.contents[suffix] = tar.read(member.offset, member.size)
    if sample.members:
        yield sample


def json_object(content: bytes) -> dict[str, Any] | None:
    """Return what a .json says, in values that Arrow can store; None if it is not a JSON object."""
    try:
        text = content.decode("utf-8-sig", "replace")
        value = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) <= _LONGEST_NUMBER else None)
    except (ValueError, RecursionError):
        return None
    return {name: _storable(each) for name, each in value.items()} if isinstance(value, dict) else None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_storable(each) for each in value] if isinstance(value, list) else value
