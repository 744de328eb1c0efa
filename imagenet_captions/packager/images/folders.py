"""Images as files: the train folder, nested or flat, or files named by Flickr photo id."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.image_ids import image_id
from imagenet_captions.packager.images.source import (
    Found,
    Place,
    Wanted,
    is_image_name,
    nearest_wnid,
    no_names,
    photo_id,
    wnid_in,
)


class FolderImages:
    """An `ImageSource` over files in a folder, at any depth."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, wanted: Wanted, scratch: Path) -> Iterator[Found]:
        """Yield the wanted files, folder by folder in the order of their names."""
        around = wnid_in(self.path.resolve().name)
        example, joined = "", False
        for file, name in walk(self.path):
            if not is_image_name(name):
                continue
            key = image_id(name)
            if key is None and wanted.photo_ids:
                key = photo_id(name.rpartition("/")[2])
            if key is None:
                example = example or name
                continue
            joined = True
            if key in wanted.keys:
                yield Found(key, nearest_wnid(name, around), Place(file, 0, Path(file).stat().st_size))
        if not joined and example:
            raise _photo_ids_only(self.path) if photo_id(Path(example).name) else no_names(self.path, example)


def walk(path: Path) -> Iterator[tuple[str, str]]:
    """Yield every file below a folder with its name in there, in the order of the names.

    Links are followed, but no folder is entered twice on one way down, and a link that leads nowhere is no file.
    Raises InputError for a folder that may not be read, since its images would be missing without a word.
    """
    yield from _walk(str(path), "", frozenset())


def _walk(folder: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    try:
        stat = os.stat(folder)  # noqa: PTH116
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}; check its permissions") from None
    here = (stat.st_dev, stat.st_ino)
    if here in above:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here})
        elif entry.is_file():
            yield entry.path, prefix + entry.name


def _photo_ids_only(path: Path) -> InputError:
    return InputError(
        f"the images in {path} are named by Flickr photo id, but the captions have no photo ids to join them on; "
        "build from ImageNet's URL list, or give images named like n01440764_10026.JPEG"
    )
