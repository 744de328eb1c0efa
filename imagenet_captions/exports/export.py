"""Exporting a dataset in the format of another tool, as a whole or not at all, with a record beside it."""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.compose import TEMPLATE_COLUMNS, caption_lists, compose_captions
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError, aligned
from imagenet_captions.exports.settings import ATTRIBUTION, RELEASE_JSON, SLIM, WEBDATASET, ExportSettings
from imagenet_captions.exports.webdataset import write_webdataset
from imagenet_captions.flickr.photos import find_license
from imagenet_captions.images.files import Kind
from imagenet_captions.images.sources import ImageSource, Located, locate
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
            writers = {ATTRIBUTION: write_attribution, RELEASE_JSON: write_release}
            writers.get(settings.to, write_captions)(job, new)
            write_record(new_record, {out.name: (sha256(new), new.stat().st_size)}, job.told())
    return Exported(dict(job.counts))


_DENIED_BY = ("image_id", "photo_id", "owner", "photo_page")


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
        needed = ("caption",) if template is None else TEMPLATE_COLUMNS
        table = self.read(list(dict.fromkeys([*columns, *needed])))
        if template is not None:
            compose = caption_lists if template.is_list else compose_captions
            kind = pa.list_(pa.string()) if template.is_list else pa.string()
            batches = table.select(TEMPLATE_COLUMNS).to_batches()
            made = [compose(template, {name: batch[name] for name in TEMPLATE_COLUMNS}) for batch in batches]
            table = table.append_column("caption", pa.chunked_array(made, kind))
        captions = table["caption"]
        if pa.types.is_list(captions.type):
            empty = pc.equal(pc.list_value_length(captions), 0)
        else:
            empty = pc.equal(pc.utf8_trim_whitespace(captions), "")
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


# The exports that are tables, which pandas with its defaults reads back, and the published file's form.
#
# pandas 2 and 3 (`read_csv(path, sep=sep)`) change some texts. A quote at the start of a field opens a quoted field. A
# bare carriage return ends a row. Some words are read as missing values, quoted or not. A column of numbers, or a block
# of 262,144 rows that ends with numbers only, is read as numbers: "0042" comes back as 42.

_SAFE = ("filepath", "filename", "image_id", "wnid", "label")  # no text; pandas reads labels as numbers, as it should
_FILE_COLUMNS = ["image_id", "wnid", "filename", "photo_id"]
_RELEASE_COLUMNS = ["filename", "wnid", "title", "description", "tags"]
_ROWS_AT_ONCE, _LINES_AT_ONCE = 10_000, 65_536

# What pandas reads as missing, as it does an empty text.
_MISSING = (
    *("NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None"),
    *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
)
# Matches every text that pandas reads as a number or a truth value, and some more. For RE2.
_NUMBER = (
    r"(?i)^\s*(?:[-+]?(?:[0-9]+\.?[0-9]*(?:e[-+]?[0-9]*)?|\.[0-9]*(?:e[-+]?[0-9]*)?|inf(?:inity)?|nan)|true|false)\s*$"
)
_LONGEST_RUN = 1000  # far below the size of the blocks whose type pandas guesses
_SPACES = r" *[\t\n\v\f\r][ \t\n\v\f\r]*"
_NO_BREAK_SPACE = "\u00a0"


def write_captions(job: Job, path: Path) -> None:
    """Write open_clip's table (`filepath`, `title`, by tabs) or the slim one, and the columns that are asked for.

    The slim one, `filename,caption`, is enough for users who have ImageNet.
    """
    more = job.settings.columns or ()
    table = job.read_captioned([*dict.fromkeys([*_FILE_COLUMNS, *more])])
    if job.settings.shuffle is not None:
        order = seeded_order(table["image_id"].to_pylist(), job.settings.shuffle)
        table = table.take(order).combine_chunks()
    if job.settings.to == SLIM:
        separator, columns = ",", {"filename": table["filename"], "caption": _as_text(table["caption"])}
    else:
        paths = _file_paths(job, table)
        found = pc.is_valid(paths)
        table = table.filter(found)
        separator, columns = "\t", {"filepath": paths.filter(found), "title": table["caption"]}
        if job.out.suffix.lower() == ".csv":
            log.info("%s is separated by tabs, as open_clip expects it", job.out)
    columns |= {name: _as_text(table[name]) for name in more}
    job.count("marked", write_delimited(path, columns, separator))
    job.count("exported", len(table))


def write_release(job: Job, path: Path) -> None:
    """Write the published file's form, the texts of the `raw` config in a JSON list with an entry a line."""
    table = job.read(_RELEASE_COLUMNS, "raw")
    with path.open("w", encoding="utf-8", newline="\n") as opened:
        before = "[\n"
        for entry in track(_rows(table), "write", len(table), "rows"):
            opened.write(before + json.dumps(entry))
            before = ",\n"
        opened.write("\n]\n")
    job.count("exported", len(table))


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column as text: a list as JSON, so that each of its texts stays whole, and "" for a null."""
    if pa.types.is_list(column.type):
        return _texts(json.dumps(texts, ensure_ascii=False) for texts in column.to_pylist())
    return pc.fill_null(column.cast(pa.string()), "")


def _texts(values: Iterable[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])


def _file_paths(job: Job, table: pa.Table) -> pa.ChunkedArray:
    """Return the path of each row's image, null if the given images do not have it."""
    images, prefix = job.settings.images, job.settings.path_prefix
    start = (str(images or "") if prefix is None else prefix).removesuffix("/")
    start += "/" if start or prefix == "/" else ""
    if images is None:  # as in an ILSVRC train folder; whether the files exist is not known
        return pc.binary_join_element_wise(start, table["wnid"], "/", table["filename"], "")
    if ImageSource(images).kind is not Kind.FOLDER:
        raise InputError(f"open_clip's CSV names image files, and {images} is not a folder of them; unpack it first")
    with tempfile.TemporaryDirectory() as scratch:
        ranges = job.locate(table, images, Path(scratch)).ranges
    root = len(str(images))
    return _texts(None if part is None else start + part.path[root:].lstrip("/") for part in ranges)


def write_delimited(path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str) -> int:
    """Write columns of text, protected from pandas and quoted where needed; return how many texts were marked for it.

    Reads the file back with pandas. Raises InputError if any text differs.
    """
    written, all_marked = dict(columns), 0
    for name in columns.keys() - set(_SAFE):
        written[name], marked = protect(columns[name])
        all_marked += marked
    with path.open("wb") as opened:
        opened.write(f"{separator.join(written)}\n".encode())
        for batch in pa.table(written).to_batches(max_chunksize=_LINES_AT_ONCE):
            lines = pc.binary_join_element_wise(*(_quoted(column, separator) for column in batch.columns), separator)
            whole = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")
            opened.writelines([whole[0].as_buffer(), b"\n"])
    verify_delimited(path, written, separator)
    return all_marked


def protect(column: pa.ChunkedArray) -> tuple[pa.ChunkedArray, int]:
    """Fold white space, and mark texts that pandas would read as missing values or numbers; also count the marks.

    A text such as "NA" gets a blank at its end. Texts that look like numbers are safe among other texts. In a run of
    them at the end of the column, or of a thousand of them, one gets a no-break space; pandas would ignore a blank.
    """
    folded = pc.utf8_trim(pc.replace_substring_regex(column, _SPACES, " "), " ")
    missing = pc.is_in(folded, value_set=pa.array(_MISSING, pa.string()))
    filled = pc.not_equal(folded, "").to_numpy()  # an empty text is missing for pandas, and parts no numbers
    like_numbers = pc.and_not(pc.match_substring_regex(folded, _NUMBER), missing).to_numpy()[filled]
    places = np.arange(len(like_numbers))
    other = np.maximum.accumulate(np.where(like_numbers, -1, places))  # the last text before that is none
    told = like_numbers & ((places - other) % _LONGEST_RUN == 0)
    told[-1:] = like_numbers[-1:]
    numbers = np.zeros(len(filled), np.bool_)
    numbers[filled] = told
    end = pc.if_else(missing, " ", pc.if_else(pa.chunked_array([pa.array(numbers)]), _NO_BREAK_SPACE, ""))
    marked = int(pc.sum(missing).as_py() or 0) + int(np.count_nonzero(numbers))
    return pc.binary_join_element_wise(folded, end, "") if marked else folded, marked


def verify_delimited(path: Path, columns: Mapping[str, pa.ChunkedArray], separator: str) -> None:
    """Read the file with pandas and compare. Raises InputError if any text differs."""
    import pandas as pd

    read = pd.read_csv(path, sep=separator)
    for name, wanted in columns.items():
        found = pa.array(read[name]) if name in read else pa.nulls(0)
        found = found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])
        if not pa.types.is_string(found.type):  # large strings, whole numbers, or a column without any text
            found = found.cast(pa.string())
        if not found.equals(pc.if_else(pc.equal(wanted, ""), pa.scalar(None, pa.string()), wanted)):
            raise InputError(
                f"pandas {pd.__version__} does not read the column {name} back as it was written, so nothing was "
                "exported; use another version of pandas, and please report this"
            )


def _quoted(column: pa.Array, separator: str) -> pa.Array:
    mask = pc.match_substring_regex(column, f'["\\r\\n{separator}]')
    doubled = pc.replace_substring(column.filter(mask), '"', '""')
    return pc.replace_with_mask(column, mask, pc.binary_join_element_wise('"', doubled, '"', ""))


UNKNOWN, NO_PAGE = "unknown", "none"
_COLUMNS = ["filename", "photo_page", "owner", "owner_name", "license", "retrieved_at"]
_HEADER = """\
# Attribution

The photos behind these rows of ImageNet-Captions, and the people who took them. Licenses are those that Flickr stated
on the day given; a photographer may have changed them since.

| file | photo | owner | license | retrieved |
|---|---|---|---|---|
"""
_WHITE_SPACE = "[\t-\r\x1c-\x1f\x85\u2028\u2029]+"
# Control characters, direction marks and other invisible ones. The joiners of emoji, Persian and Indic names stay.
_INVISIBLE = "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0001]"
_FORMULA = "^[=+@-]"  # tabs and carriage returns are removed before
# Everything that Markdown or HTML could read as markup.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~$:@^=/-])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_SAFE_PAGE = re.compile(r"https?://[A-Za-z0-9._~/@%-]+")


def write_attribution(job: Job, path: Path) -> None:
    """Write one row per photo; unknown values are written as "unknown", and unknown owners are counted.

    Raises InputError for a dataset without any owner, such as one from a release, which names no photographers.
    """
    table = job.read(_COLUMNS)
    unknown = pc.sum(pc.and_(pc.is_null(table["owner"]), pc.is_null(table["photo_page"]))).as_py()
    if unknown == len(table):
        raise InputError(
            f"{job.shards.dataset} does not know whose photos they are (its texts are from a published release, which "
            "does not say); build it from Flickr or with YFCC100M's metadata to name the owners"
        )
    job.count("unknown_owner", unknown)
    job.count("exported", len(table))
    licenses = [find_license(number) for number in table["license"].to_pylist()]
    columns = {}
    for name in ("filename", "photo_page", "owner", "owner_name"):
        # Some invisible characters would reverse the text that follows a name.
        column = pc.replace_substring_regex(table[name], _WHITE_SPACE, " ")
        columns[name] = pc.replace_substring_regex(column, _INVISIBLE, "")
    columns["license"] = _texts(known.name if known else None for known in licenses)
    columns["license_url"] = _texts(known.url if known else None for known in licenses)
    columns["retrieved"] = pc.strftime(table["retrieved_at"], format="%Y-%m-%d")
    if job.out.suffix.lower() == ".md":
        _write_markdown(pa.table(columns), path)
        return
    for name, column in columns.items():
        known = pc.utf8_trim_whitespace(pc.fill_null(column, NO_PAGE if name == "license_url" else UNKNOWN))
        text = pc.if_else(pc.equal(known, ""), UNKNOWN, known)
        # An apostrophe before what a spreadsheet would run as a formula.
        guard = pc.if_else(pc.match_substring_regex(text, _FORMULA), "'", "")
        columns[name] = pc.binary_join_element_wise(guard, text, "")
    job.count("marked", write_delimited(path, columns, ","))


def _write_markdown(table: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as opened:
        opened.write(_HEADER)
        for row in _rows(table):
            owner, name, page = row["owner"], row["owner_name"], row["photo_page"]
            who = escape(f"{name} ({owner})" if name and owner else name or owner or UNKNOWN)
            photo = link("photo", page) if page else UNKNOWN
            known, url = row["license"] or UNKNOWN, row["license_url"]
            license_ = link(known, url) if url else escape(known)
            retrieved = escape(row["retrieved"] or UNKNOWN)
            opened.write(f"| {escape(row['filename'])} | {photo} | {who} | {license_} | {retrieved} |\n")


def escape(text: str) -> str:
    """Return a text escaped for Markdown, on one line."""
    folded = " ".join(text.split())
    return "".join(_ENTITIES.get(letter, letter) for letter in _SPECIAL.sub(r"\\\1", folded))


def link(text: str, address: str) -> str:
    """Return a Markdown link, or only the escaped address if it could hold markup or a script."""
    return f"[{escape(text)}](<{address}>)" if _SAFE_PAGE.fullmatch(address) else escape(address)
