"""Exporting a dataset in the format of another tool, as a whole or not at all, with a record beside it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.compose import caption_lists, compose_captions
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError, aligned
from imagenet_captions.exports.settings import ATTRIBUTION, OPEN_CLIP_CSV, SLIM, WEBDATASET, ExportSettings
from imagenet_captions.exports.tables import write_attribution, write_open_clip, write_release, write_slim
from imagenet_captions.exports.webdataset import write_webdataset
from imagenet_captions.images.sources import Located, locate
from imagenet_captions.storage.files import sha256
from imagenet_captions.storage.outputs import holding, producing, producing_folder, record_path, write_record
from imagenet_captions.storage.parquet import read_table
from imagenet_captions.storage.places import Place, PlaceLike, place
from imagenet_captions.storage.progress import track

log = logging.getLogger(__name__)

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
        return "\n".join(aligned(shown, left=(1,)))


def export(dataset: PlaceLike, out: PlaceLike, settings: ExportSettings, overwrite: bool = False) -> Exported:
    """Write a dataset in the format of another tool to `out`, and its record to `out`.json.

        ic.export("imagenet-captions", "train.tsv", ic.ExportSettings("open-clip-csv"))

    `out` becomes a file, or for a WebDataset a folder. The same dataset, images and settings give the same bytes. An
    earlier export is replaced. Raises InputError, and writes nothing, if `out` lies inside the dataset or the images,
    or is anything else than an export; `overwrite` allows replacing another file.
    """
    dataset, out = place(dataset), place(out)
    inputs, record = [dataset, settings.images, settings.deny.file], record_path(out)
    if settings.to == ATTRIBUTION and out.suffix.lower() not in (".csv", ".md"):
        raise InputError(f"`to='attribution'` writes CSV or Markdown, by the name's ending; {out.name!r} has neither")
    if settings.to == WEBDATASET:
        with holding([out, record]):
            with producing_folder(out, inputs, record) as folder, Shards(dataset).unchanged() as shards:
                job = Job(shards, settings, out)
                digests = write_webdataset(job, folder)
                files = {name: (digest, (folder / name).stat().st_size) for name, digest in digests.items()}
            write_record(record, files, job.told())
    else:
        with producing([out], inputs, overwrite, [record]) as (new_record, new), Shards(dataset).unchanged() as shards:
            job = Job(shards, settings, out)
            writers = {OPEN_CLIP_CSV: write_open_clip, SLIM: write_slim, ATTRIBUTION: write_attribution}
            writers.get(settings.to, write_release)(job, new)
            write_record(new_record, {out.name: (sha256(new), new.stat().st_size)}, job.told())
    return Exported(dict(job.counts))


_DENIED_BY = ("image_id", "photo_id", "owner", "photo_page")
_TEMPLATE_COLUMNS = ("image_id", "title", "tags", "description")


class Job:
    """One export: a dataset, the settings, and the numbers of rows written and left out."""

    def __init__(self, shards: Shards, settings: ExportSettings, out: Place) -> None:
        if shards.manifest.as_published and settings.caption is not None:
            settings = replace(settings, caption=settings.caption.with_camera_names())
        self.shards, self.settings, self.out = shards, settings, out
        self.counts: Counter[str] = Counter()

    def count(self, name: str, number: int) -> None:
        """Add to a count; counts of zero are not listed."""
        if number:
            self.counts[name] += number

    def told(self) -> dict[str, Any]:
        """Return what the record says about the export."""
        return {
            "inputs": {"dataset": self.shards.digest},
            "settings": self.settings.recorded(str(self.shards.manifest.settings.get("caption"))),
            "command": self.settings.command(self.out),
            "counts": dict(self.counts),
        }

    def read(self, columns: Sequence[str], config: str = "data") -> pa.Table:
        """Read columns of the rows that are not denied, in the order of the dataset."""
        deny, files = self.settings.deny, self.shards.files(config)
        wanted = list(dict.fromkeys([*columns, *(_DENIED_BY if deny else ())]))
        tables = [read_table(file, columns=wanted) for file in track(files, "read", len(files), "shards")]
        table = pa.concat_tables([part.replace_schema_metadata() for part in tables])
        self.counts["rows"] = len(table)
        deny.warn_if_blind(not deny or table["photo_id"].null_count < len(table), "this dataset")
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
            compose = caption_lists if template.is_list else compose_captions
            kind = pa.list_(pa.string()) if template.is_list else pa.string()
            batches = table.select(_TEMPLATE_COLUMNS).to_batches()
            made = [compose(template, {name: batch[name] for name in _TEMPLATE_COLUMNS}) for batch in batches]
            table = table.append_column("caption", pa.chunked_array(made, kind))
        captions = table["caption"]
        listed = pa.types.is_list(captions.type)
        lengths = pc.list_value_length(captions) if listed else pc.utf8_length(pc.utf8_trim_whitespace(captions))
        empty = pc.equal(lengths, 0)
        if not (empty_too and template is not None and template.empty == "keep"):
            self.count("empty", pc.sum(empty).as_py() or 0)
            table = table.filter(pc.invert(empty))
        return self._require_rows(table).select([*columns, "caption"])

    def locate(self, table: pa.Table, images: Place, scratch: Path) -> Located:
        """Find the images of the rows; `table` has image_id, wnid and photo_id."""
        located = locate(table, images, scratch)
        self.count("no_image", len(located.remarks))
        if len(located.remarks) == len(table):
            raise InputError(f"the images {images} have none of the {len(table):,} rows' images; check the path")
        return located

    def _require_rows(self, table: pa.Table) -> pa.Table:
        if not len(table):
            raise InputError(
                f"nothing is left to export: of {self.counts['rows']:,} rows {self.counts['denied']:,} are denied and "
                f"{self.counts['empty']:,} have no caption; change the denylist or the caption"
            )
        return table
