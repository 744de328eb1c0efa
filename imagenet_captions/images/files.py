"""What lies at a path with images: a folder of them, tars, Parquet or another file; and the images below a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES, image_id, is_wnid
from imagenet_captions.storage.files import is_hidden, require_there, walk
from imagenet_captions.storage.places import Place, expand_pattern, is_remote, reopen

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"PK\x03\x04")
_ENDINGS = tuple(IMAGE_SUFFIXES)


class ByteRange(NamedTuple):
    """The bytes of a file that are one image, exactly as its source holds it."""

    path: str
    offset: int
    size: int


class Kind(Enum):
    """The forms in which images come."""

    FOLDER = auto()
    PARQUET = auto()
    TAR = auto()
    COMPRESSED = auto()  # gzip, bzip2, xz, zstd or zip
    OTHER = auto()


@dataclass(frozen=True)
class Layout:
    """The form of the images at a path, and its files: the folder of images, the tars or the Parquet files."""

    kind: Kind
    files: Sequence[Place]
    unusable: str | None = None  # the first image in a folder of which none has a usable name


def layout_of(path: Place, usable: Callable[[str], object] = lambda name: True) -> Layout:
    """Return how images lie at a path or pattern; the files themselves show it.

    In a folder, an image with a usable name counts before tars, and tars before Parquet. Raises InputError if nothing
    is there, or if it is compressed.
    """
    files = expand_pattern(path)
    if files is None and require_there(path, "the source of images").is_dir():
        tars: list[Place] = []
        tables: list[Place] = []
        unusable = None
        for file, name in walk(path):
            if is_image_name(name):
                if usable(name):
                    return Layout(Kind.FOLDER, [path])
                unusable = unusable or name
            elif name.lower().endswith((".tar", ".parquet")) and not is_hidden(name):
                (tars if name.lower().endswith(".tar") else tables).append(reopen(file))
        files = tars or tables
        if not files:
            return Layout(Kind.OTHER, [path], unusable)
    files = files or [path]
    kind = kind_of(files[0])
    if kind is Kind.COMPRESSED:
        raise compressed(files[0])
    return Layout(kind, files)


def kind_of(file: Place) -> Kind:
    """Return what a file is by its first bytes; one that ends in .tar counts as a tar."""
    with file.open("rb") as opened:
        head = opened.read(512)
    if head.startswith(b"PAR1"):
        return Kind.PARQUET
    if head.startswith(_COMPRESSED):
        return Kind.COMPRESSED
    return Kind.TAR if head[257:262] == b"ustar" or file.suffix.lower() == ".tar" else Kind.OTHER


def compressed(file: Place) -> InputError:
    """Build the error for a compressed file in which images have to be read one by one."""
    return InputError(f"{file} is compressed, so that no image in it can be read alone; unpack it first")


class ImageFile(NamedTuple):
    """An image as a file: its path or URL, its name below the folder, and its size where the listing has it."""

    path: str
    name: str
    size: int | None


def image_files(folder: Place) -> Iterator[ImageFile]:
    """Yield the images below a folder in the order of their names; bytes of a name that are not UTF-8 become "?"."""
    if is_remote(folder):
        yield from (ImageFile(str(file), name, size) for file, name, size, _ in folder.below() if is_image_name(name))
        return
    for path, name in walk(folder):
        if is_image_name(name):
            yield ImageFile(path, name if name.isascii() else name.encode("utf-8", "replace").decode(), None)


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image: by its ending, or by an image id without one; a hidden one is not."""
    return not is_hidden(name) if name.lower().endswith(_ENDINGS) else image_id(name) is not None


def wnid_in(name: str) -> str | None:
    """Return the wnid that a folder or tar is named for, if it is."""
    stem = name[: -len(".tar")] if name.lower().endswith(".tar") else name
    return stem if is_wnid(stem) else None


def nearest_wnid(name: str, around: str | None = None) -> str | None:
    """Return the wnid of the nearest folder in a file's name that is named for one, else that of what is around it."""
    return next((found for folder in reversed(name.split("/")[:-1]) if (found := wnid_in(folder))), around)
