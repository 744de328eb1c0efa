"""Exporting a dataset in the format of another tool, as a whole or not at all, with a receipt beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from imagenet_captions.dataset.folder import check_export_output, replacing_folder
from imagenet_captions.dataset.manifest import read_manifest, unchanged
from imagenet_captions.errors import InputError
from imagenet_captions.exports.attribution import write_attribution
from imagenet_captions.exports.caption_table import check_settings, is_table
from imagenet_captions.exports.release_json import write_release
from imagenet_captions.exports.rows import Export, Job
from imagenet_captions.exports.settings import (
    ATTRIBUTION,
    OPEN_CLIP_CSV,
    RELEASE_JSON,
    SLIM,
    WEBDATASET,
    ExportSettings,
)
from imagenet_captions.exports.tables import write_open_clip, write_slim
from imagenet_captions.exports.webdataset import write_webdataset
from imagenet_captions.storage.file_names import MANIFEST
from imagenet_captions.storage.files import digest, sha256, write_json
from imagenet_captions.storage.locks import holding
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.places import Place, PlaceLike, place
from imagenet_captions.storage.receipts import FORMAT, VERSION, receipt_path, write_receipt

log = logging.getLogger(__name__)

_FILES: Mapping[str, Callable[[Job, Path], None]] = {
    OPEN_CLIP_CSV: write_open_clip,
    SLIM: write_slim,
    RELEASE_JSON: write_release,
}
_MEANINGS = {
    "rows": "rows",
    "denied": "on the denylist",
    "empty": "without a caption",
    "no_image": "without an image",
    "broken_image": "whose image cannot be used",
    "exported": "exported",
    "unknown_owner": "of these, the owner is not known",
    "marked": "texts that got white space at their end, to stay texts for pandas",
}


@dataclass(frozen=True)
class Exported:
    """The numbers of rows that were exported or left out; `str` gives a table with their meanings."""

    counts: Mapping[str, int]

    def __str__(self) -> str:
        shown = [(f"{self.counts[name]:,}", text) for name, text in _MEANINGS.items() if name in self.counts]
        width = max(len(number) for number, _ in shown)
        return "\n".join(f"{number:>{width}}  {text}" for number, text in shown)


def export(dataset: PlaceLike, out: PlaceLike, settings: ExportSettings, overwrite: bool = False) -> Exported:
    """Write a dataset in the format of another tool to `out`, and its receipt to `out`.json.

        ic.export("imagenet-captions", "train.tsv", ic.ExportSettings("open-clip-csv"))


    `out` becomes a file, or for a WebDataset a folder. A WebDataset is also made of a table with columns of image
    paths and captions, in place of a dataset. The same dataset, images and settings give the same bytes. An
    earlier export is replaced. Raises InputError, and writes nothing, if `out` lies inside the dataset or the images,
    or is anything else than an export; `overwrite` allows replacing another file.
    """
    dataset, out = place(dataset), place(out)
    check_settings(settings, dataset)
    # What a table names in a folder is not all that lies there, such as the working directory.
    images = None if is_table(dataset) else settings.images
    inputs, receipt = [dataset, images, settings.deny.file], receipt_path(out)
    if settings.to == WEBDATASET:
        check_export_output(out, receipt, inputs)
        with holding([out, receipt]):
            with replacing_folder(out) as folder, unchanged(dataset):
                job, told = (_begin_table if is_table(dataset) else _begin)(dataset, out, settings)
                files = write_webdataset(job, folder)
                _mark_unfinished(receipt)
            write_receipt(receipt, files, {**told, "counts": dict(job.counts)})
        return Exported(dict(job.counts))
    write = _attribution(out) if settings.to == ATTRIBUTION else _FILES[settings.to]
    with producing([out], inputs, overwrite, receipt) as new, unchanged(dataset):
        job, told = _begin(dataset, out, settings)
        write(job, new.files[0])
        new.about.update(told, counts=dict(job.counts))
    return Exported(dict(job.counts))


def _begin(dataset: Place, out: Place, settings: ExportSettings) -> tuple[Job, dict[str, Any]]:
    manifest = read_manifest(dataset)
    if manifest.as_published and settings.caption is not None:
        settings = replace(settings, caption=settings.caption.with_camera_names())
    told = {
        "inputs": {"dataset": sha256(dataset / MANIFEST)},
        "settings": settings.recorded(str(manifest.settings.get("caption"))),
        "command": settings.command(out),
    }
    return Job(dataset, settings, manifest), told


def _begin_table(table: Place, out: Place, settings: ExportSettings) -> tuple[Export, dict[str, Any]]:
    told = {
        "inputs": {"table": digest(table)},
        "settings": settings.recorded(None),
        "command": settings.command(out, "TABLE"),
    }
    return Export(table, settings), told


def _attribution(out: Place) -> Callable[[Job, Path], None]:
    suffix = out.suffix.lower()
    if suffix not in (".csv", ".md"):
        raise InputError(f"`to='attribution'` writes CSV or Markdown, by the name's ending; {out.name!r} has neither")
    return partial(write_attribution, markdown=suffix == ".md")


def _mark_unfinished(receipt: Place) -> None:
    """Mark the receipt of an exported folder as unfinished, just before the files are moved into place.

    So what a killed run leaves is accepted by the next run, and no reader takes it for whole.
    """
    write_json(receipt, {"format": FORMAT, "version": VERSION, "unfinished": True})
