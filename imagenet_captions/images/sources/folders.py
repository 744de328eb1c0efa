"""Images as files: the train folder, nested or flat, or files named by Flickr photo id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.readers.folders import image_files, nearest_wnid, wnid_in
from imagenet_captions.images.sources.source import ByteRange, Found, ImageQuery, no_names, photo_id


class FolderImages:
    """An `ImageSource` over files in a folder, at any depth."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, wanted: ImageQuery, scratch: Path) -> Iterator[Found]:
        """Yield the wanted files, folder by folder in the order of their names."""
        around = wnid_in(self.path.resolve().name)
        example, joined = "", False
        for file, name, size in image_files(self.path):
            key = image_id(name)
            if key is None and wanted.photo_ids:
                key = photo_id(name.rpartition("/")[2])
            if key is None:
                example = example or name
                continue
            joined = True
            if key in wanted.keys:
                size = Path(file).stat().st_size if size is None else size
                yield Found(key, nearest_wnid(name, around), ByteRange(file, 0, size))
        if not joined and example:
            raise _photo_ids_only(self.path) if photo_id(Path(example).name) else no_names(self.path, example)


def _photo_ids_only(path: Path) -> InputError:
    return InputError(
        f"the images in {path} are named by Flickr photo id, but the captions have no photo ids to join them on; "
        "build from ImageNet's URL list, or give images named like n01440764_10026.JPEG"
    )
