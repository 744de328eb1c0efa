"""The exports that are tables of captions: open_clip's and the slim one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.exports.delimited import protect, verify_delimited, write_delimited
from imagenet_captions.exports.rows import Job
from imagenet_captions.images.readers.kinds import Kind
from imagenet_captions.images.sources import open_images
from imagenet_captions.storage.files import remove_tree


def write_open_clip(job: Job, path: Path) -> None:
    """Write open_clip's CSV: `filepath` and `title`, separated by tabs."""
    table = job.read_captioned(["image_id", "wnid", "filename", "photo_id"])
    paths, captions = _file_paths(job, table, path), table["caption"]
    found = pc.is_valid(paths)
    _write(job, path, {"filepath": paths.filter(found), "title": captions.filter(found)}, "\t", ("title",))


def write_slim(job: Job, path: Path) -> None:
    """Write `filename,caption`, which is enough for users who have ImageNet."""
    table = job.read_captioned(["filename"])
    _write(job, path, {name: table[name] for name in ("filename", "caption")}, ",", ("caption",))


def _write(
    job: Job, path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str, texts: tuple[str, ...]
) -> None:
    written = dict(columns)
    for name in texts:
        protected = protect(columns[name])
        written[name] = protected.column
        job.count("marked", protected.marked)
    write_delimited(path, written, separator)
    verify_delimited(path, written, separator)
    job.count("exported", len(written[texts[0]]))


def _file_paths(job: Job, table: pa.Table, path: Path) -> pa.ChunkedArray:
    """Return the path of each row's image, null if the given images do not have it."""
    images, prefix = job.settings.images, job.settings.path_prefix
    if images is None:
        # As in an ILSVRC train folder; whether the files exist is not known.
        names = pc.binary_join_element_wise(table["wnid"], table["filename"], "/")
        return pc.binary_join_element_wise(_before(prefix or ""), names, "")
    if open_images(images).kind is not Kind.FOLDER:
        raise InputError(f"open_clip's CSV names image files, and {images} is not a folder of them; unpack it first")
    scratch = path.with_name(path.name + ".scratch")
    scratch.mkdir(exist_ok=True)
    try:
        located = job.locate(table, images, scratch)
    finally:
        remove_tree(scratch)
    root = str(images)
    start = _before(root if prefix is None else prefix)
    paths = [None if part is None else start + part.path[len(root) :].lstrip("/") for part in located.ranges]
    return pa.chunked_array([pa.array(paths, pa.string())])


def _before(folder: str) -> str:
    return folder if not folder or folder.endswith("/") else folder + "/"
