"""The attribution export: each photo's owner, page, license and day of retrieval, as CSV or Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.exports.rows import Job
from imagenet_captions.exports.tables import write_delimited
from imagenet_captions.flickr.photos import find_license

UNKNOWN, NO_PAGE = "unknown", "none"
_COLUMNS = ["filename", "photo_page", "owner", "owner_name", "license", "retrieved_at"]
_HEADER = """\
# Attribution

The photos behind these rows of ImageNet-Captions, and the people who took them. Licenses are those that Flickr stated
on the day given; a photographer may have changed them since.

| file | photo | owner | license | retrieved |
|---|---|---|---|---|
"""
_SPACES = "[\t-\r\x1c-\x1f\x85\u2028\u2029]+"
# Control characters, direction marks and other invisible ones. The joiners of emoji, Persian and Indic names stay.
_INVISIBLE = "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0001]"
_FORMULA = "^[=+@-]"  # tabs and carriage returns are removed before
# Everything that Markdown or HTML could read as markup.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~$:@^=/-])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
_SAFE_PAGE = re.compile(r"https?://[A-Za-z0-9._~/@%-]+")


def write_attribution(job: Job, path: Path, markdown: bool) -> None:
    """Write one row per photo; unknown values are written as "unknown", and unknown owners are counted.

    Raises InputError for a dataset without any owner, such as one from a release, which names no photographers.
    """
    table = _visible(job.read(_COLUMNS))
    nobody = pc.and_(pc.is_null(table["owner"]), pc.is_null(table["photo_page"]))
    unknown = pc.sum(nobody).as_py() or 0
    if unknown == len(table):
        sources = "from a published release, which does not say" if len(table) else "without rows"
        raise InputError(
            f"{job.dataset.dataset} does not know whose photos they are (its texts are {sources}); "
            "build it from Flickr or with YFCC100M's metadata to name the owners"
        )
    job.count("unknown_owner", unknown)
    job.count("exported", len(table))
    if markdown:
        with path.open("w", encoding="utf-8", newline="\n") as opened:
            opened.write(_HEADER)
            opened.writelines(_markdown_rows(table))
    else:
        _write_csv(job, table, path)


def _visible(table: pa.Table) -> pa.Table:
    """Return the table without invisible characters; some of them would reverse the text that follows a name."""
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            folded = pc.replace_substring_regex(table[at], _SPACES, " ")
            table = table.set_column(at, field, pc.replace_substring_regex(folded, _INVISIBLE, ""))
    return table


def _write_csv(job: Job, table: pa.Table, path: Path) -> None:
    licenses = [_license(number) for number in table["license"].to_pylist()]
    texts = {
        "filename": table["filename"],
        "photo_page": pc.fill_null(table["photo_page"], UNKNOWN),
        "owner": pc.fill_null(table["owner"], UNKNOWN),
        "owner_name": pc.fill_null(table["owner_name"], UNKNOWN),
        "license": pa.chunked_array([pa.array([name for name, _ in licenses], pa.string())]),
        "license_url": pa.chunked_array([pa.array([url or NO_PAGE for _, url in licenses], pa.string())]),
        "retrieved": pa.chunked_array([pa.array([_day(at) for at in table["retrieved_at"].to_pylist()], pa.string())]),
    }
    guarded = {name: _guarded(pc.utf8_trim_whitespace(column)) for name, column in texts.items()}
    job.count("marked", write_delimited(path, guarded, ","))


def _guarded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the texts with an apostrophe before each that a spreadsheet would run as a formula."""
    filled = pc.if_else(pc.equal(column, ""), UNKNOWN, column)
    guard = pc.if_else(pc.match_substring_regex(filled, _FORMULA), "'", "")
    return pc.binary_join_element_wise(guard, filled, "")


def _markdown_rows(table: pa.Table) -> Iterator[str]:
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            owner, name = row["owner"], row["owner_name"]
            who = f"{name} ({owner})" if name and owner else name or owner or UNKNOWN
            license_name, url = _license(row["license"])
            cells = [
                escape(row["filename"]),
                link("photo", row["photo_page"]) if row["photo_page"] else UNKNOWN,
                escape(who),
                link(license_name, url) if url else escape(license_name),
                escape(_day(row["retrieved_at"])),
            ]
            yield f"| {' | '.join(cells)} |\n"


def escape(text: str) -> str:
    r"""Return a text escaped for Markdown, on one line.

    >>> escape("<script> *a|b*")
    '&lt;script&gt; \\*a\\|b\\*'
    """
    folded = " ".join(text.split())
    return "".join(_ENTITIES.get(letter, letter) for letter in _SPECIAL.sub(r"\\\1", folded))


def link(text: str, address: str) -> str:
    """Return a Markdown link, or only the escaped address if it could hold markup or a script.

    >>> link("photo", "https://www.flickr.com/photos/1@N00/2/"), link("photo", "javascript:alert(1)")
    ('[photo](<https://www.flickr.com/photos/1@N00/2/>)', 'javascript\\\\:alert\\\\(1\\\\)')
    """
    return f"[{escape(text)}](<{address}>)" if _SAFE_PAGE.fullmatch(address) else escape(address)


def _license(number: int | None) -> tuple[str, str | None]:
    known = find_license(number)
    return (UNKNOWN, None) if known is None else (known.name, known.url)


def _day(moment: Any) -> str:
    return UNKNOWN if moment is None else moment.strftime("%Y-%m-%d")
