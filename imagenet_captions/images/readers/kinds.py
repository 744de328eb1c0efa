"""What a file or folder with images is, by the bytes and names in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.images.readers.folders import is_image_name
from imagenet_captions.storage.files import walk
from imagenet_captions.storage.places import Place, reopen

_PARQUET, _TAR = b"PAR1", b"ustar"
_TAR_AT = 257
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")


class Kind(Enum):
    """The forms of images that the readers tell apart."""

    FOLDER = auto()
    PARQUET = auto()
    TAR = auto()
    COMPRESSED = auto()  # gzip, bzip2, xz, zstd or zip
    OTHER = auto()


def kind_of(file: Place) -> Kind:
    """Return what a file is by its first bytes; one that ends in .tar counts as a tar."""
    with file.open("rb") as opened:
        head = opened.read(512)
    if head.startswith(_PARQUET):
        return Kind.PARQUET
    if is_compressed(head):
        return Kind.COMPRESSED
    return Kind.TAR if is_tar(head) or file.suffix.lower() == ".tar" else Kind.OTHER


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with these 512 bytes is a tar."""
    return head[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR


def is_compressed(head: bytes) -> bool:
    """Whether a file that begins so is compressed as a whole, or a zip."""
    return head.startswith(_COMPRESSED)


def compressed(file: Place) -> InputError:
    """Build the error for a compressed file in which images have to be read one by one."""
    return InputError(f"{file} is compressed, so that no image in it can be read alone; unpack it first")


@dataclass
class Contents:
    """What is in a folder, up to the first image that will do."""

    image: str | None = None
    other_image: str | None = None  # the first of those that will not do
    tars: list[Place] = field(default_factory=list)
    tables: list[Place] = field(default_factory=list)  # Parquet


def look_into(folder: Place, will_do: Callable[[str], object] = lambda _: True) -> Contents:
    """Look through a folder at any depth; an image whose name `will_do` ends the search."""
    contents = Contents()
    for file, name in walk(folder):
        suffix = Path(name).suffix.lower()
        if suffix == ".tar":
            contents.tars.append(reopen(file))
        elif suffix == ".parquet":
            contents.tables.append(reopen(file))
        elif is_image_name(name):
            if will_do(name):
                contents.image = name
                break
            contents.other_image = contents.other_image or name
    return contents
