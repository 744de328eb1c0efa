"""The exports that are tables of captions: open_clip's and the slim one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.splits import seeded_order
from imagenet_captions.errors import InputError
from imagenet_captions.exports.delimited import protect, verify_delimited, write_delimited
from imagenet_captions.exports.rows import Job
from imagenet_captions.images.files import Kind
from imagenet_captions.images.sources import ImageSource

_SAFE = ("filepath", "filename", "image_id", "wnid", "label")  # no text; pandas reads labels as numbers, as it should


def write_open_clip(job: Job, path: Path) -> None:
    """Write open_clip's CSV: `filepath` and `title`, separated by tabs, and the columns that are asked for."""
    table = _read(job, ["image_id", "wnid", "filename", "photo_id"])
    paths = _file_paths(job, table)
    found = pc.is_valid(paths)
    table = table.filter(found)
    _write(job, path, {"filepath": paths.filter(found), "title": table["caption"], **_more(job, table)}, "\t")


def write_slim(job: Job, path: Path) -> None:
    """Write `filename,caption`, which is enough for users who have ImageNet, and the columns that are asked for."""
    table = _read(job, ["image_id", "filename"])
    own = {"filename": table["filename"], "caption": _as_text(table["caption"])}
    _write(job, path, own | _more(job, table), ",")


def _read(job: Job, columns: Sequence[str]) -> pa.Table:
    """Read the rows in the order of the dataset, or of `shuffle`."""
    table = job.read_captioned([*columns, *(name for name in job.settings.columns or () if name not in columns)])
    if job.settings.shuffle is None:
        return table
    return table.take(seeded_order(table["image_id"].to_pylist(), job.settings.shuffle)).combine_chunks()


def _more(job: Job, table: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: _as_text(table[name]) for name in job.settings.columns or ()}


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text: a list as JSON, so that each of its texts stays whole, and "" for a null."""
    if pa.types.is_list(column.type):
        lists = [json.dumps(texts, ensure_ascii=False) for texts in column.to_pylist()]
        return pa.chunked_array([pa.array(lists, pa.string())])
    return pc.fill_null(column.cast(pa.string()), "")


def _write(job: Job, path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str) -> None:
    written = dict(columns)
    for name in columns:
        if name not in _SAFE:
            protected = protect(columns[name])
            written[name] = protected.column
            job.count("marked", protected.marked)
    write_delimited(path, written, separator)
    verify_delimited(path, written, separator)
    job.count("exported", len(next(iter(written.values()))))


def _file_paths(job: Job, table: pa.Table) -> pa.ChunkedArray:
    """Return the path of each row's image, null if the given images do not have it."""
    images, prefix = job.settings.images, job.settings.path_prefix
    if images is None:
        # As in an ILSVRC train folder; whether the files exist is not known.
        names = pc.binary_join_element_wise(table["wnid"], table["filename"], "/")
        return pc.binary_join_element_wise(_before(prefix or ""), names, "")
    if ImageSource(images).kind is not Kind.FOLDER:
        raise InputError(f"open_clip's CSV names image files, and {images} is not a folder of them; unpack it first")
    with tempfile.TemporaryDirectory() as scratch:
        located = job.locate(table, images, Path(scratch))
    root = str(images)
    start = _before(root if prefix is None else prefix)
    paths = [None if part is None else start + part.path[len(root) :].lstrip("/") for part in located.ranges]
    return pa.chunked_array([pa.array(paths, pa.string())])


def _before(folder: str) -> str:
    return folder if not folder or folder.endswith("/") else folder + "/"
