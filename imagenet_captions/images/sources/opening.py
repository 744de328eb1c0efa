"""Open a source of images: detects the form of a folder, file or pattern."""

from __future__ import annotations

from collections.abc import Sequence

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.images.readers.kinds import Kind, compressed, kind_of, look_into
from imagenet_captions.images.sources.formats import FolderImages, ParquetImages, TarImages
from imagenet_captions.images.sources.source import ImageSource, no_names, photo_id
from imagenet_captions.storage.files import require_there
from imagenet_captions.storage.patterns import expand_pattern
from imagenet_captions.storage.places import Place


def open_images(path: Place) -> ImageSource:
    """Open the images at `path`; the files themselves show the form.

    The forms are a train folder (nested or flat), a folder of files named by Flickr photo id, ILSVRC2012_img_train.tar
    or a folder of its inner tars, WebDataset tars, or the Parquet of imagenet-1k; tars and Parquet also as a pattern,
    such as shards/{00000..00012}.tar.

    Raises InputError if it is none of these, or if nothing in it has a name to join on.
    """
    if (files := expand_pattern(path)) is not None:
        return _open_files(path, files)
    if require_there(path, "the source of images").is_dir():
        return _open_folder(path)
    return _open_files(path, [path])


def _open_folder(path: Place) -> ImageSource:
    held = look_into(path, lambda name: image_id(name) or photo_id(name.rpartition("/")[2]))
    if held.image:
        return FolderImages(path)
    if held.tars:
        return TarImages(path, held.tars)
    if held.tables:
        return ParquetImages(path, held.tables)
    if held.other_image:
        raise no_names(path, held.other_image)
    raise InputError(f"the folder {path} holds no images, tars of images or Parquet with images; check the path")


def _open_files(path: Place, files: Sequence[Place]) -> ImageSource:
    """Return the images in files of one kind, which the first one shows."""
    kind = kind_of(files[0])
    if kind is Kind.PARQUET:
        return ParquetImages(path, files)
    if kind is Kind.TAR:
        return TarImages(path, files)
    if kind is Kind.COMPRESSED:
        raise compressed(files[0])
    raise InputError(f"the images {files[0]} are neither a folder, a tar nor Parquet; check the path")
