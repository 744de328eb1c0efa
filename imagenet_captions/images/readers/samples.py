"""The samples of WebDataset tars: members that share a key, and what their .json and .cls say."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Any

from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.images.readers.tars import Member, TarReader

_LONGEST_NUMBER = 17  # digits; more are not a number of 64 bits


@dataclass
class Sample:
    """The members that share a key, as WebDataset puts them together: 00000017.jpg, 00000017.json.

    `members` has the first one of every suffix, in lower case and without its dot. `contents` are the bytes of those
    that the reader asked for. `tar` is the name of the inner tar around them, None for none.
    """

    key: str
    tar: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def images(self) -> list[Member]:
        """Return the members whose suffixes are those of images."""
        return [member for suffix, member in self.members.items() if f".{suffix}" in IMAGE_SUFFIXES]

    def label(self) -> int | None:
        """Return the number in the .cls that was read; None without one, or for anything else in it."""
        digits = self.contents.get("cls", b"").strip()
        return int(digits) if digits.isdigit() and len(digits) <= _LONGEST_NUMBER else None


def read_samples(tar: TarReader, contents: Container[str] = (), largest: int = 0) -> Iterator[Sample]:
    """Yield the members grouped by key, a key ending at the first dot of a file's name as in WebDataset.

    Members without a dot, and hidden files such as ._00000017.jpg, are in no sample. The contents of members with one
    of these suffixes and of at most `largest` bytes are read along.
    """
    sample = Sample("")
    for inner, member in tar.members():
        name = member.name
        base = name.rfind("/") + 1
        dot = name.find(".", base)
        if dot <= base:
            continue
        if name[:dot] != sample.key or inner != sample.tar:
            if sample.members:
                yield sample
            sample = Sample(name[:dot], inner)
        suffix = name[dot + 1 :].lower()
        if suffix in sample.members:
            continue
        sample.members[suffix] = member
        if suffix in contents and member.size <= largest:
            sample.contents[suffix] = tar.read(member.offset, member.size)
    if sample.members:
        yield sample


def json_object(content: bytes) -> dict[str, Any] | None:
    r"""Return what a .json says; None if it is not a JSON object.

    Half a surrogate pair can be written in JSON, but not stored as UTF-8, so it becomes a question mark.

    >>> json_object(b'{"title": "\\ud800 dog"}'), json_object(b"[")
    ({'title': '? dog'}, None)
    """
    try:
        value = json.loads(content.decode("utf-8-sig", "replace"), parse_int=_bounded)
    except (ValueError, RecursionError):
        return None
    return {name: _storable(each) for name, each in value.items()} if isinstance(value, dict) else None


def _bounded(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else None


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_storable(each) for each in value] if isinstance(value, list) else value
