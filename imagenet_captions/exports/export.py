"""Exporting a dataset in the format of another tool, as a whole or not at all, with a record beside it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.captions.compose import caption_lists, compose_captions
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError
from imagenet_captions.exports.settings import (
    ATTRIBUTION,
    OPEN_CLIP_CSV,
    RELEASE_JSON,
    SLIM,
    WEBDATASET,
    ExportSettings,
)
from imagenet_captions.exports.tables import write_attribution, write_open_clip, write_release, write_slim
from imagenet_captions.exports.webdataset import write_webdataset
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.images.sources import Located, locate
from imagenet_captions.storage.files import sha256
from imagenet_captions.storage.outputs import (
    holding,
    producing,
    producing_folder,
    record_path,
    write_record,
)
from imagenet_captions.storage.parquet import read_table
from imagenet_captions.storage.places import Place, PlaceLike, place
from imagenet_captions.storage.progress import track

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
        with holding([out, record]):
            with producing_folder(out, inputs, record) as folder, Shards(dataset).unchanged() as shards:
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


_DENIED_BY = ("image_id", "photo_id", "owner", "photo_page")
_TEMPLATE_COLUMNS = ("image_id", "title", "tags", "description")


@dataclass(frozen=True)
class Job:
    """One export: a dataset, the settings, and the numbers of rows written and left out."""

    dataset: Shards
    settings: ExportSettings
    counts: Counter[str] = field(default_factory=Counter, kw_only=True)

    def count(self, name: str, number: int) -> None:
        """Add to a count; counts of zero are not listed."""
        if number:
            self.counts[name] += number

    def read(self, columns: Sequence[str], config: str = "data") -> pa.Table:
        """Read columns of the rows that are not denied, in the order of the dataset."""
        deny = self.settings.deny
        wanted = list(dict.fromkeys([*columns, *(_DENIED_BY if deny else ())]))
        shards = self.dataset.files(config)
        read = track(shards, "read", len(shards), "shards")
        tables = [read_table(shard, columns=wanted) for shard in read]
        table = pa.concat_tables([part.replace_schema_metadata() for part in tables])
        self.counts["rows"] = len(table)
        _warn_of_blindness(deny, table)
        kept, denied = deny.drop(table)
        self.count("denied", len(denied))
        return self._require_rows(kept).select(list(columns))

    def read_captioned(self, columns: Sequence[str], empty_too: bool = False) -> pa.Table:
        """Read columns and the captions that the settings ask for, without rows that have none.

        With `empty_too`, rows with an empty caption stay if the template keeps them.
        """
        template = self.settings.caption
        needed = ("caption",) if template is None else _TEMPLATE_COLUMNS
        table = self.read(list(dict.fromkeys([*columns, *needed])))
        if template is not None:
            table = table.drop_columns(["caption"]) if "caption" in table.column_names else table
            table = table.append_column("caption", _captions(template, table))
        empty = _is_empty(table["caption"])
        if not (empty_too and template is not None and template.empty == "keep"):
            self.count("empty", pc.sum(empty).as_py() or 0)
            table = table.filter(pc.invert(empty))
        return self._require_rows(table).select(list(dict.fromkeys([*columns, "caption"])))

    def locate(self, table: pa.Table, images: Place, scratch: Path) -> Located:
        """Find the images of the rows; `table` has image_id, wnid and photo_id."""
        located = locate(table, images, scratch)
        self.count("no_image", len(located.missing))
        if len(located.missing) == len(table):
            raise InputError(f"the images {images} have none of the {len(table):,} rows' images; check the path")
        return located

    def _require_rows(self, table: pa.Table) -> pa.Table:
        if not len(table):
            raise InputError(
                f"nothing is left to export: of {self.counts['rows']:,} rows {self.counts['denied']:,} are denied and "
                f"{self.counts['empty']:,} have no caption; change the denylist or the caption"
            )
        return table


def _captions(template: CaptionTemplate, table: pa.Table) -> pa.ChunkedArray:
    compose, kind = (caption_lists, pa.list_(pa.string())) if template.is_list else (compose_captions, pa.string())
    batches = table.select(_TEMPLATE_COLUMNS).to_batches()
    made = [compose(template, {name: batch[name] for name in _TEMPLATE_COLUMNS}) for batch in batches]
    return pa.chunked_array(made, kind)


def _is_empty(captions: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_list(captions.type):
        return pc.equal(pc.list_value_length(captions), 0)
    return pc.equal(pc.utf8_trim_whitespace(captions), "")


def _warn_of_blindness(deny: Denylist, table: pa.Table) -> None:
    """Log that a denylist names photos or owners that the rows cannot be matched with."""
    if (deny.photos or deny.owners) and table["photo_id"].null_count == len(table):
        log.warning(
            "%d entries of the denylist name photos or owners, which this dataset does not know; "
            "give the file names of those images too",
            len(deny.photos) + len(deny.owners),
        )
