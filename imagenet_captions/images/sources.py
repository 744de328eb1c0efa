"""Images to package, in the forms in which people keep ImageNet: found by image id or photo id, read in place."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import image_id, wnid_of
from imagenet_captions.images.files import ByteRange, Kind, image_files, layout_of, nearest_wnid, wnid_in
from imagenet_captions.images.tables import image_file, named_images, paths_only, read_images
from imagenet_captions.images.tars import TarReader, json_object, read_samples
from imagenet_captions.storage.places import Place, reopen
from imagenet_captions.storage.progress import track

_PHOTO_ID = re.compile(r"[1-9][0-9]{0,19}")  # no leading zero, so a running number such as 00000017 is none
_LARGEST_JSON = 1 << 20
_BATCH = 1 << 16

_Keyed = Callable[[str], str | None]  # returns the key in a name if it is wanted


class Found(NamedTuple):
    """An image of the source that was asked for."""

    key: str  # an image id, or a Flickr photo id
    folder: str | None  # the wnid that the folder or inner tar around it is named for
    byte_range: ByteRange


class ImageSource:
    """A folder, tars or Parquet files that hold images; the files themselves show the form.

    The forms are a train folder (nested or flat), a folder of files named by Flickr photo id, ILSVRC2012_img_train.tar
    or a folder of its inner tars, WebDataset tars, or the Parquet of imagenet-1k; tars and Parquet also as a pattern,
    such as shards/{00000..00012}.tar. Raises InputError if it is none of these.
    """

    def __init__(self, path: Place) -> None:
        self.path = path
        layout = layout_of(path, lambda name: image_id(name) or photo_id(name))
        self.kind, self._files = layout.kind, layout.files
        if self.kind is Kind.OTHER:
            raise self._no_names(layout.unusable)
        if self.kind is Kind.PARQUET and not any(map(named_images, self._files)):
            raise InputError(f"{path} has no column of images (bytes and path); check the path")

    def find(self, keys: Container[str] | None, photo_ids: bool, scratch: Path | None) -> Iterator[Found]:
        """Yield the images with these keys, None for all, in an order that depends on the source alone.

        A key may come twice. With `photo_ids`, files in folders may be named by Flickr photo id; these never look like
        image ids. Images that cannot be read in place are copied to a file in `scratch`, which has to last as long as
        the ranges are used; without it only names are read, and ranges may be empty. Raises InputError if the source is
        damaged, or has no names to join on.
        """
        example, joined, in_folder = "", False, self.kind is Kind.FOLDER

        def keyed(name: str) -> str | None:
            nonlocal example, joined
            key = image_id(name) or (photo_id(name) if photo_ids and in_folder else None)
            if key is None:
                example = example or name
                return None
            joined = True
            return key if keys is None or key in keys else None

        if in_folder:
            around = wnid_in(self.path.resolve().name)
            for file, name, size in image_files(self.path):
                if (key := keyed(name)) is not None:
                    if size is None:  # a Path takes longer than the rest
                        size = os.stat(file).st_size if scratch is not None else 0  # noqa: PTH116
                    yield Found(key, nearest_wnid(name, around), ByteRange(file, 0, size))
        elif self.kind is Kind.TAR:
            yield from self._in_tars(keyed)
        else:
            yield from self._in_parquet(keyed, scratch)
        if not joined and in_folder and photo_id(example):
            raise InputError(
                f"the images in {self.path} are named by Flickr photo id, but the captions have no photo ids to join "
                "them on; build from ImageNet's URL list, or give images named like n01440764_10026.JPEG"
            )
        if not joined:
            raise self._no_names(example)

    @cached_property
    def keys(self) -> pa.StringArray:
        """The names of all images, image ids and Flickr photo ids, each once; no image is read for it.

        An image in a folder of another class is left out, as in packaging.
        """
        found = self.find(None, True, None)
        names = (key for key, folder, _ in found if folder is None or not key.startswith("n") or folder == wnid_of(key))
        batches = [pa.array(batch, pa.string()) for batch in in_batches(names, _BATCH)]
        return pa.chunked_array(batches, pa.string()).unique()

    def read(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield the images of these names, in the order of the source; a name may come twice."""
        with tempfile.TemporaryDirectory() as scratch:
            for key, _, (path, offset, size) in self.find(frozenset(keys), True, Path(scratch)):
                with reopen(path).open("rb") as opened:
                    opened.seek(offset)
                    yield key, opened.read(size)

    def _in_tars(self, keyed: _Keyed) -> Iterator[Found]:
        for path in self._files:
            with TarReader(path) as tar:
                for sample in read_samples(tar, {"json"}, _LARGEST_JSON):
                    around = wnid_in((sample.tar or "").rpartition("/")[2]) or wnid_in(path.name)
                    for member in sample.images():
                        name = member.name
                        # Files in timm's shards are numbered; the JSON beside an image has its name.
                        if image_id(name) is None and "json" in sample.contents:
                            said = (json_object(sample.contents["json"]) or {}).get("filename")
                            name = said if isinstance(said, str) and image_id(said) is not None else name
                        if (key := keyed(name)) is not None:
                            yield Found(key, nearest_wnid(name, around), ByteRange(str(path), *member[1:]))

    def _in_parquet(self, keyed: _Keyed, scratch: Path | None) -> Iterator[Found]:
        """Yield the images in the order of files and rows.

        Nothing in such a file can be read in place one by one, and its order is not ours, so one pass over it copies
        the wanted images to a file from which they are read later.
        """
        columns = {table: column for table in self._files if (column := named_images(table))}
        absent, found = "", False

        def take(path: str | None) -> bool:
            return scratch is not None and path is not None and keyed(path) is not None

        with nullcontext() if scratch is None else (scratch / "images").open("wb", buffering=0) as spool:
            for table, column in columns.items():
                for path, data in read_images(table, column, take):
                    if (key := keyed(path or "null")) is None:
                        continue
                    if spool is None:
                        part = ByteRange(str(table), 0, 0)
                    elif data is not None:
                        part = ByteRange(spool.name, spool.tell(), spool.write(data))
                    elif file := image_file(table, path):
                        part = ByteRange(str(file), 0, file.stat().st_size)
                    else:
                        absent = absent or str(path)
                        continue
                    found = True
                    yield Found(key, None, part)
        if absent and not found:
            raise paths_only(self.path, absent)

    def _no_names(self, example: str | None) -> InputError:
        if not example:
            return InputError(f"{self.path} holds no images; give a folder of images, a tar, or Parquet with images")
        return InputError(
            f"the images in {self.path} have no names to join on (such as {quoted(example)}); "
            "they have to be named like n01440764_10026.JPEG, or by Flickr photo id"
        )


def photo_id(name: str) -> str | None:
    """Return the Flickr photo id in a file's name, or None."""
    stem = PurePosixPath(name).stem
    return stem if _PHOTO_ID.fullmatch(stem) else None


class Located(NamedTuple):
    """The byte range of each row's image, and for rows without one the reason."""

    ranges: list[ByteRange | None]
    remarks: dict[int, str]


def locate(rows: pa.Table, images: Place, scratch: Path) -> Located:
    """Find the image of every row, which has image_id, wnid and photo_id; `scratch` must last as long as the ranges.

    Images are joined by image id, else by Flickr photo id; the first one in the source's order counts. An image in a
    folder or inner tar of another class than the row's is not used: either the folder or the name is wrong.
    """
    ids, photos, wnids = (rows[name].to_pylist() for name in ("image_id", "photo_id", "wnid"))
    keys: dict[str, list[int]] = {key: [row] for row, key in enumerate(ids)}
    for row, key in enumerate(photos):
        if key is not None:
            keys.setdefault(key, []).append(row)
    ranges: list[ByteRange | None] = [None] * len(rows)
    astray: dict[int, str] = {}
    found = ImageSource(images).find(keys, any(photos), scratch)
    for key, folder, byte_range in track(found, "find images", len(rows), "images"):
        for row in keys[key]:
            if folder is not None and folder != wnids[row]:
                astray[row] = f"its image lies among those of {folder}, so it is not used"
            elif ranges[row] is None:
                ranges[row] = byte_range
    missing = (row for row, part in enumerate(ranges) if part is None)
    return Located(ranges, {row: astray.get(row, "no image in the source") for row in missing})
