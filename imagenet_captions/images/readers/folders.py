"""The reader of folders: finds images as files, at any depth, for packaging, training, test sets and id lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES, image_id, is_wnid
from imagenet_captions.storage.files import walk
from imagenet_captions.storage.places import Place, is_remote

_ENDINGS = tuple(IMAGE_SUFFIXES)
_OF_MACOS = "__MACOSX/"


class ImageFile(NamedTuple):
    """An image as a file: its path or URL, its name below the folder, and its size where the listing has it.

    Bytes of a name that are not UTF-8 are question marks in `name`, which is shown and stored; `path` keeps them.
    """

    path: str
    name: str
    size: int | None


def image_files(folder: Place) -> Iterator[ImageFile]:
    """Yield the images below a folder, folder by folder in the order of their names.

    Links are followed, but not in a circle. Raises InputError for a folder that may not be read.
    """
    if is_remote(folder):
        yield from (ImageFile(str(file), name, size) for file, name, size, _ in folder.below() if is_image_name(name))
        return
    for path, name in walk(folder):
        if is_image_name(name):
            yield ImageFile(path, name if name.isascii() else name.encode("utf-8", "replace").decode(), None)


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image: by its ending, or by an image id without one.

    Hidden files, and what macOS puts beside the files in an archive, are not images.

    >>> [is_image_name(name) for name in ("a/b.JPEG", "n01440764_10026", "README.md", "a/._b.JPEG")]
    [True, True, False, False]
    """
    if not name.lower().endswith(_ENDINGS):
        return image_id(name) is not None
    return name[name.rfind("/") + 1] != "." and _OF_MACOS not in name


def wnid_in(name: str) -> str | None:
    """Return the wnid that a folder or tar is named for, if it is.

    >>> wnid_in("n01440764.tar"), wnid_in("train")
    ('n01440764', None)
    """
    stem = name[: -len(".tar")] if name.lower().endswith(".tar") else name
    return stem if is_wnid(stem) else None


def nearest_wnid(name: str, around: str | None = None) -> str | None:
    """Return the wnid of the nearest folder in a file's name that is named for one, else that of what is around it.

    >>> nearest_wnid("train/n01440764/n01440764_10026.JPEG")
    'n01440764'
    """
    for folder in reversed(name.split("/")[:-1]):
        if found := wnid_in(folder):
            return found
    return around
