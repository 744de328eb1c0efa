"""YFCC100M's metadata as a source of raw records: joined with the matches by photo id, without calls to Flickr.

100 million photos in 60 GB: a text of 25 fields between tabs (23 in its first version), in one file or in parts; an
SQLite file; or the file that `extract_photos` wrote. Texts and the owner's name are encoded as in the query of a URL.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from functools import partial
from itertools import chain, starmap
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.engines.local import LOCAL, default_workers, in_batches
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.addresses import MAX_DIGITS
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.flickr.photos import LATEST_POSIX_TIME, LICENSES, STILL
from imagenet_captions.images.files import Kind, kind_of
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcome_rows, outcomes_path
from imagenet_captions.schema import MATCHES, PHOTOS, RAW, RawSource
from imagenet_captions.sources.matches import drops_beside, open_matches
from imagenet_captions.storage.files import is_sqlite, require_there, sha256
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import ParquetFile, open_parquet_writer, read_batches, write_table
from imagenet_captions.storage.places import Place, require_local
from imagenet_captions.storage.texts import lines_of, read_blocks

Numbers = npt.NDArray[np.int64]

# Our name of each field, and its column in the SQLite table; in the order of the files.
COLUMNS = {
    "photo_id": "photoid", "owner": "uid", "owner_name": "unickname", "date_taken": "datetaken",
    "date_posted": "dateuploaded", "device": "capturedevice", "title": "title", "description": "description",
    "tags": "usertags", "machine_tags": "machinetags", "longitude": "longitude", "latitude": "latitude",
    "accuracy": "accuracy", "photo_page": "pageurl", "download_url": "downloadurl", "license_name": "licensename",
    "license_url": "licenseurl", "server": "serverid", "farm": "farmid", "secret": "secret",
    "original_secret": "secretoriginal", "extension": "ext", "marker": "marker",
}  # fmt: skip
TABLE = "yfcc100m_dataset"
VIDEO = "1"  # the marker of a video; a photo's is 0
LACKING = "YFCC100M does not have it, and Flickr was not asked"
NORMALISED = "tags in Flickr's normalized form"  # "New York City" becomes "newyorkcity"

_PHOTO_ID = rf"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}"
_BEFORE_THE_LICENSE = re.compile(r"https?://(?:www\.)?", re.IGNORECASE)
_BATCH_ROWS = 2048
_MOST_WORKERS = 4


# The layouts of the text: the index of the photo's id by the number of fields in a line. Only a line of 25 has its
# number before the id, and a hash behind it.
PHOTO_ID_AT = {25: 1, 23: 0}


def named(fields: Sequence[str]) -> dict[str, str]:
    """Return the fields of a line by name, for either layout."""
    values = [fields[1], *fields[3:]] if len(fields) == 25 else fields
    return dict(zip(COLUMNS, values, strict=True))


def decoded(value: str) -> str:
    """Return a text as its owner wrote it."""
    return unquote_plus(value, errors="replace")


def decoded_tags(value: str) -> list[str]:
    """Return the tags of a field, which are separated by commas; a comma inside a tag is encoded."""
    return [decoded(tag) for tag in value.split(",") if tag]


class YfccSource(RawSource):
    """A `RawSource` of the matched photos that YFCC100M has.

    Without `answered` it is the only source: a photo that YFCC100M lacks is `not_asked`. With it, another source has
    the photos that YFCC100M lacks and those in `answered`.
    """

    def __init__(
        self, path: Place, matches: Place, deny: Denylist = NOTHING_DENIED, answered: pa.Array | None = None
    ) -> None:
        super().__init__([path, matches, outcomes_path(matches)])
        self._path, self._matches, self._deny, self._answered = path, matches, deny, answered
        self._photos = [pa.array([], pa.string())]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield RAW batches in the order of the metadata; denied and missing photos go to the drops."""
        digest = hashlib.sha256()
        if self._answered is None:
            self.drops += drops_beside(self._matches)
        with open_matches(self._matches) as opened:
            matches = opened.read(MATCHES.names)
        if self._answered is not None:
            answered = pc.is_in(matches["photo_id"], value_set=self._answered)
            matches = matches.filter(pc.invert(answered))
        numbers = _numbers(matches["photo_id"])
        order = np.argsort(numbers, kind="stable")
        matches, numbers = matches.take(pa.array(order)), numbers[order]
        found = np.zeros(len(numbers), np.bool_)
        for batch in _photos(self._path, numbers[numbers > 0], self.drops):
            for row in batch.to_pylist():
                digest.update(f"{list(row.values())}\n".encode("utf-8", "backslashreplace"))
            self._photos.append(batch["photo_id"])
            of_photo, rows = _images_of(batch, numbers)
            found[rows] = True
            photos = pa.Table.from_batches([batch]).take(pa.array(of_photo))
            records = self._permitted(_joined(photos, matches.take(pa.array(rows))))
            yield from records.select(RAW.names).cast(RAW).combine_chunks().to_batches()
        if self._answered is None:
            lacking = self._permitted(matches.filter(pa.array(~found)))
            remarks = lacking["detail"].to_pylist()
            details = [f"{LACKING}; {more}" if more else LACKING for more in remarks]
            ids = {name: lacking[name] for name in ("image_id", "wnid")}
            self.drops += outcome_rows(Outcome.NOT_ASKED, len(lacking), detail=details, **ids).to_batches()
        self.inputs = {"matches": sha256(self._matches), "yfcc100m": digest.hexdigest()}

    def photo_ids(self) -> pa.Array:
        """Return the matched photos and videos that YFCC100M has."""
        return pa.concat_arrays(self._photos)

    def _permitted(self, rows: pa.Table) -> pa.Table:
        permitted, denied = self._deny.drop(rows)
        self.drops += denied.to_batches()
        return permitted


class JoinedSource(RawSource):
    """A `RawSource` of several; each leaves to the others what they have, and may ask them once they were read."""

    def __init__(self, *sources: RawSource) -> None:
        super().__init__([path for source in sources for path in source.files])
        self._sources = sources

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the RAW batches of all, in order."""
        for source in self._sources:
            yield from source.batches()
            self.drops += source.drops
            self.inputs |= source.inputs
            self.measured |= source.measured


def extract_photos(path: Place, matches: Place, out: Place, overwrite: bool = False) -> int:
    """Write the metadata of the matched photos to `out`, one row a photo, and return their number.

    Unreadable rows are counted in `outcomes_path(out)`.
    """
    count = 0
    dropped: list[pa.RecordBatch] = []
    inputs = [path, matches, outcomes_path(matches)]
    with producing([out], inputs, overwrite, [outcomes_path(out)]) as (beside, product):
        with open_parquet_writer(product, PHOTOS) as writer:
            for batch in _photos(path, _matched(matches), dropped):
                writer.write_batch(batch)
                count += len(batch)
        write_table(pa.Table.from_batches(dropped, OUTCOMES), beside)
    return count


def photo_ids(path: Place, matches: Place) -> pa.Array:
    """Return the matched photos and videos that YFCC100M has."""
    found = [batch["photo_id"] for batch in _photos(path, _matched(matches), [])]
    return pa.chunked_array(found, pa.string()).combine_chunks()


def _matched(matches: Place) -> Numbers:
    with open_matches(matches) as opened:
        numbers = _numbers(opened.read(["photo_id"])["photo_id"])
    return np.sort(numbers[numbers > 0])


def _numbers(photo_ids: pa.ChunkedArray) -> Numbers:
    """Return ids as numbers; 0 for an id that is not a number, which YFCC100M cannot have."""
    number = pc.match_substring_regex(photo_ids, rf"^{_PHOTO_ID}$")
    found: Numbers = pc.cast(pc.if_else(number, photo_ids, "0"), pa.int64()).to_numpy()
    return found


def _images_of(photos: pa.RecordBatch, matched: Numbers) -> tuple[Numbers, Numbers]:
    """Return, for each image of these photos, the index of its photo and that of its match; `matched` is sorted."""
    numbers = pc.cast(photos["photo_id"], pa.int64()).to_numpy()
    first = np.searchsorted(matched, numbers, side="left")
    counts = np.searchsorted(matched, numbers, side="right") - first
    rows = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
    return np.repeat(np.arange(len(numbers)), counts), rows


def _joined(photos: pa.Table, images: pa.Table) -> pa.Table:
    """Return the columns of a raw record, and the address, of images beside their photos."""
    stills = pc.if_else(photos["is_video"], STILL, None)
    details = (each.to_pylist() for each in (stills, photos["detail"], images["detail"]))
    columns = dict(zip(photos.column_names, photos.columns, strict=True))
    columns |= {name: images[name] for name in ("image_id", "wnid", "url")}
    columns["source"] = pa.repeat("yfcc100m", len(photos))
    columns["retrieved_at"] = pa.nulls(len(photos))  # YFCC100M is of 2014, without a date
    joined = ["; ".join(filter(None, each)) or None for each in zip(*details, strict=True)]
    columns["detail"] = pa.array(joined, pa.string())
    return pa.table(columns)


def _photos(path: Place, wanted: Numbers, dropped: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield PHOTOS batches of the photos with these numbers (sorted); unreadable rows are counted in `dropped`."""
    require_there(path, "YFCC100M's metadata")
    if path.is_dir():
        parts = sorted(part for part in path.glob(f"{TABLE}*") if part.is_file())
        if not parts:
            raise InputError(f"the folder {path} has no file called {TABLE}*; give the file with YFCC100M's metadata")
        numbered = ((part, wanted, dropped, f"part {number}, ") for number, part in enumerate(parts, 1))
        yield from _photo_batches(chain.from_iterable(starmap(_in_text, numbered)))
        return
    if kind_of(path) is not Kind.PARQUET:
        rows = _in_sqlite(path, wanted) if is_sqlite(path) else _in_text(path, wanted, dropped)
        yield from _photo_batches(rows)
        return
    with ParquetFile(path) as opened:
        if opened.schema_arrow.names != PHOTOS.names:
            raise InputError(f"{path} is Parquet, but not one that extract-yfcc wrote; give YFCC100M's metadata")
        ids = pa.array(wanted).cast(pa.string())
        for batch in read_batches(opened):
            photos = pa.Table.from_batches([batch]).cast(PHOTOS)
            yield from photos.filter(pc.is_in(photos["photo_id"], value_set=ids)).to_batches()
    if outcomes_path(path).is_file():
        dropped += drops_beside(path)


def _photo_batches(rows: Iterable[Mapping[str, str]]) -> Iterator[pa.RecordBatch]:
    for some in in_batches(map(_photo, rows), _BATCH_ROWS):
        yield pa.RecordBatch.from_pylist(some, PHOTOS)


def _in_text(path: Place, wanted: Numbers, dropped: list[pa.RecordBatch], part: str = "") -> Iterator[dict[str, str]]:
    """Yield the wanted rows in the order of the file, and count the lines that are not rows of it.

    The first block decides the layout of the whole file. Otherwise a line that lost two of its 25 fields would be read
    as one of 23, with its line number as the photo's id.
    """
    blocks = read_blocks(path, "YFCC100M's metadata")
    first = next(blocks, None)
    if first is None:
        raise InputError(f"{path} is empty; give YFCC100M's metadata")
    counts = {fields: np.count_nonzero(_ids_in(lines_of(first), fields)) for fields in PHOTO_ID_AT}
    layout = max(PHOTO_ID_AT, key=lambda fields: counts[fields])
    if not counts[layout]:
        raise InputError(
            f"{path} is not YFCC100M's metadata: no line has 25 or 23 fields between tabs, with a photo's id "
            "among them; give yfcc100m_dataset, plain or as .bz2 or .gz, or yfcc100m_dataset.sql"
        )
    read = bad = first_bad = 0
    wanted = np.append(wanted, np.iinfo(np.int64).max)  # an end for what is larger than all of them
    workers = min(default_workers(), _MOST_WORKERS)
    search = partial(_search, layout, wanted)
    for block in LOCAL.run(search, chain([first], blocks), workers, threads=True):
        yield from (named(line.split("\t")) for line in block.found)
        if len(block.odd) and not bad:
            first_bad = read + int(block.odd[0]) + 1
        bad += len(block.odd)
        read += block.lines
    if bad:
        what = f"YFCC100M: lines that cannot be read, the first is {part}line {first_bad}"
        dropped += outcome_rows(Outcome.BAD_RECORD, 1, detail=[what], count=[bad]).to_batches()


class _Block(NamedTuple):
    lines: int
    found: list[str]
    odd: Numbers  # lines that are not rows, from the block's start


def _search(layout: int, wanted: Numbers, block: bytes) -> _Block:
    lines = lines_of(block)
    numbers = _ids_in(lines, layout)
    odd = np.flatnonzero(numbers == 0)
    blank = pc.match_substring_regex(lines.take(pa.array(odd)), r"^\r?\n$")
    is_wanted = wanted[np.searchsorted(wanted, numbers)] == numbers
    found = lines.take(pa.array(np.flatnonzero(is_wanted)))
    texts = [line[:-1].decode("utf-8", "replace").removesuffix("\r") for line in found.to_pylist()]
    return _Block(len(lines), texts, odd[~blank.to_numpy(zero_copy_only=False)])


def _ids_in(lines: pa.BinaryArray, layout: int) -> Numbers:
    """Return the photo's id in each line as a number; 0 for a line that does not have this layout."""
    _, offsets, block = lines.buffers()
    tabs = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\t"))
    whole = np.diff(np.searchsorted(tabs, np.frombuffer(offsets, np.int32))) == layout - 1
    before = rf"(?:[^\t\n]*\t){{{PHOTO_ID_AT[layout]}}}"
    ids = pc.extract_regex(lines, rf"^{before}(?P<id>{_PHOTO_ID})\t").flatten()[0]
    rows = np.flatnonzero(whole & ids.is_valid().to_numpy(zero_copy_only=False))
    numbers = np.zeros(len(lines), np.int64)
    numbers[rows] = ids.take(pa.array(rows)).cast(pa.string()).cast(pa.int64())
    return numbers


def _in_sqlite(path: Place, wanted: Numbers) -> Iterator[dict[str, str]]:
    """Yield the rows of the photos; the file is opened as immutable, and read through an index if it has one."""
    path = require_local(path, "the SQLite file", "SQLite reads files of this machine alone")
    fields = ", ".join(f"CAST(coalesce({name}, '') AS TEXT)" for name in COLUMNS.values())
    try:
        name = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(name, uri=True)) as connection:
            connection.text_factory = lambda value: value.decode("utf-8", "replace")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("CREATE TEMP TABLE wanted (photo_id TEXT)")
            numbers = ((number,) for number in wanted.tolist())
            connection.executemany("INSERT INTO wanted VALUES (?)", numbers)
            rows = f"SELECT {fields} FROM {TABLE} WHERE photoid IN (SELECT photo_id FROM wanted)"
            yield from (dict(zip(COLUMNS, row, strict=True)) for row in connection.execute(rows))
    except sqlite3.Error as error:
        raise InputError(
            f"the SQLite file {path} cannot be read ({error}); give yfcc100m_dataset.sql as it was published"
        ) from None


def _photo(row: Mapping[str, str]) -> dict[str, Any]:
    """Return a row of PHOTOS. Machine tags, which have a field of their own, are left out: cleaning would drop them."""
    photo_id, page, owner = row["photo_id"], row["photo_page"], row["owner"] or None
    posted = row["date_posted"]
    if not page.startswith(("http://", "https://")):
        page = f"https://www.flickr.com/photos/{owner}/{photo_id}/" if owner else ""
    is_date = re.fullmatch("[0-9]{1,12}", posted) is not None and int(posted) <= LATEST_POSIX_TIME
    tags = decoded_tags(row["tags"])
    is_normalised = bool(tags) and all(tag.isalnum() and tag == tag.lower() for tag in tags)
    return {
        "photo_id": photo_id,
        "title": decoded(row["title"]),
        "description": decoded(row["description"]),
        "tags": tags,
        "owner": owner,
        "owner_name": decoded(row["owner_name"]) or None,
        "license": _LICENSES.get(_license_key(row["license_url"])),
        "date_taken": _moment(row["date_taken"]),
        "date_posted": int(posted) if is_date else None,
        "photo_page": page or None,
        "detail": NORMALISED if is_normalised else None,
        "is_video": row["marker"] == VIDEO,
    }


def _moment(text: str) -> datetime | None:
    # 2010-07-16 20:47:02.0, the camera's clock; "null" where it was not set
    try:
        return datetime.fromisoformat(text.partition(".")[0])
    except ValueError:
        return None


def _license_key(url: str) -> str:
    return _BEFORE_THE_LICENSE.sub("", url, count=1).rstrip("/").lower()


_LICENSES = {_license_key(entry.url): entry.id for entry in LICENSES if entry.url is not None}
