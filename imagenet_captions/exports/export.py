"""Exporting a dataset in the format of another tool, as a whole or not at all, with a record beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError
from imagenet_captions.exports.attribution import write_attribution
from imagenet_captions.exports.rows import Job
from imagenet_captions.exports.settings import (
    ATTRIBUTION,
    OPEN_CLIP_CSV,
    RELEASE_JSON,
    SLIM,
    WEBDATASET,
    ExportSettings,
)
from imagenet_captions.exports.tables import write_open_clip, write_release, write_slim
from imagenet_captions.exports.webdataset import write_webdataset
from imagenet_captions.storage.files import sha256
from imagenet_captions.storage.outputs import (
    check_dataset_output,
    holding,
    producing,
    record_path,
    replacing_folder,
    write_record,
)
from imagenet_captions.storage.places import Place, PlaceLike, place

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
    """Write a dataset in the format of another tool to `out`, and its record to `out`.json.

        ic.export("imagenet-captions", "train.tsv", ic.ExportSettings("open-clip-csv"))

    `out` becomes a file, or for a WebDataset a folder. The same dataset, images and settings give the same bytes. An
    earlier export is replaced. Raises InputError, and writes nothing, if `out` lies inside the dataset or the images,
    or is anything else than an export; `overwrite` allows replacing another file.
    """
    dataset, out = place(dataset), place(out)
    inputs, record = [dataset, settings.images, settings.deny.file], record_path(out)
    if settings.to == WEBDATASET:
        check_dataset_output(out, inputs, record)
        with holding([out, record]):
            with replacing_folder(out, record) as folder, Shards(dataset).unchanged() as shards:
                job, told = _begin(shards, out, settings)
                digests = write_webdataset(job, folder)
                files = {name: (digest, (folder / name).stat().st_size) for name, digest in digests.items()}
            write_record(record, files, {**told, "counts": dict(job.counts)})
        return Exported(dict(job.counts))
    write = _attribution(out) if settings.to == ATTRIBUTION else _FILES[settings.to]
    with producing([out], inputs, overwrite, [record]) as (new_record, new), Shards(dataset).unchanged() as shards:
        job, told = _begin(shards, out, settings)
        write(job, new)
        files = {out.name: (sha256(new), new.stat().st_size)}
        write_record(new_record, files, {**told, "counts": dict(job.counts)})
    return Exported(dict(job.counts))


def _begin(shards: Shards, out: Place, settings: ExportSettings) -> tuple[Job, dict[str, Any]]:
    manifest = shards.manifest
    if manifest.as_published and settings.caption is not None:
        settings = replace(settings, caption=settings.caption.with_camera_names())
    told = {
        "inputs": {"dataset": shards.digest},
        "settings": settings.recorded(str(manifest.settings.get("caption"))),
        "command": settings.command(out),
    }
    return Job(shards, settings), told


def _attribution(out: Place) -> Callable[[Job, Path], None]:
    suffix = out.suffix.lower()
    if suffix not in (".csv", ".md"):
        raise InputError(f"`to='attribution'` writes CSV or Markdown, by the name's ending; {out.name!r} has neither")
    return partial(write_attribution, markdown=suffix == ".md")
