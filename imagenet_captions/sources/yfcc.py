"""YFCC100M's metadata as a source of raw records: joined with the matches by photo id, without calls to Flickr.

It has 100 million photos in 60 GB: a text of 25 fields between tabs, without a header, plain or packed; a folder with
parts of it; an SQLite file; or the file that `extract_photos` wrote. The first version of the text has 23 fields.

    0  4193131985  1a2b…  11632020@N00  hans  2009-12-17 17:08:50.0  1261134560  Canon…  Grey+heron  At+the+%3Cb%3E…  …

Title, description, tags and the owner's name are encoded as in the query of a URL, with `+` for a space.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.engines.local import LOCAL, default_workers, in_batches
from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.flickr.addresses import MAX_DIGITS, read_address
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.flickr.photos import LATEST_POSIX_TIME, LICENSES, STILL, PhotoRecord
from imagenet_captions.outcomes import MOST_LISTED, OUTCOMES, Outcome, bad_records, outcome_rows, outcomes_path
from imagenet_captions.schema import MATCHES, PHOTOS, RAW, RawSource
from imagenet_captions.sources.matches import drops_of_matching, open_matches
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
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?")
_BEFORE_THE_LICENSE = re.compile(r"https?://(?:www\.)?", re.IGNORECASE)
_BATCH_ROWS = 2048
_MOST_WORKERS = 4


class Layout(NamedTuple):
    """A layout of the text: the number of fields in a line, and the index of the photo's id."""

    fields: int
    photo_id: int


NEW = Layout(25, 1)
OLD = Layout(23, 0)  # version 1: neither line number nor hash
LAYOUTS = (NEW, OLD)


def named(fields: Sequence[str]) -> dict[str, str]:
    """Return the fields of a line by name, for either layout.

    >>> named("0 4193131985 1a2b".split() + ["x"] * 22)["photo_id"], named(["4193131985"] + ["x"] * 22)["photo_id"]
    ('4193131985', '4193131985')
    """
    values = [fields[1], *fields[3:]] if len(fields) == NEW.fields else fields
    return dict(zip(COLUMNS, values, strict=True))


def decoded(value: str) -> str:
    """Return a text as its owner wrote it.

    Scripts that first unquote and then replace `+` by a space make "C " of "C%2B%2B".

    >>> decoded("C%2B%2B+is+%3Cb%3Efun%3C%2Fb%3E")
    'C++ is <b>fun</b>'
    """
    return unquote_plus(value, errors="replace")


def decoded_tags(value: str) -> list[str]:
    """Return the tags of a field, which are separated by commas; a comma inside a tag is encoded.

    >>> decoded_tags("grey+heron,leiden%2C+holland")
    ['grey heron', 'leiden, holland']
    """
    return [decoded(tag) for tag in value.split(",") if tag]


@dataclass(frozen=True, kw_only=True)
class _Photo(PhotoRecord):
    """A photo or video; texts are decoded and otherwise unchanged."""

    photo_id: str
    detail: str | None


@dataclass
class _BadRows:
    """Rows that cannot be read: the first ones are listed, all are counted, so that memory is bounded."""

    count: int = 0
    listed: list[str] = field(default_factory=list)

    def add(self, where: str, what: str) -> None:
        self.count += 1
        if len(self.listed) < MOST_LISTED:
            self.listed.append(f"YFCC100M, {where}: {what}")

    def outcomes(self) -> pa.Table:
        return bad_records(self.listed, self.count, "YFCC100M: more rows that cannot be read")


class YfccSource(RawSource):
    """A `RawSource` of the matched photos that YFCC100M has.

    Without `answered` it is the only source: a photo that YFCC100M lacks is `not_asked`. With it, another source has
    the photos that YFCC100M lacks and those in `answered`.
    """

    def __init__(
        self, path: Place, matches: Place, deny: Denylist = NOTHING_DENIED, answered: pa.Array | None = None
    ) -> None:
        self._path, self._matches, self._deny, self._answered = path, matches, deny, answered
        self._dropped: list[pa.RecordBatch] = []
        self._photos: list[pa.Array] = []
        self._digest: str | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield RAW batches in the order of the metadata; denied and missing photos go to the drops."""
        self._dropped, self._photos, digest, bad = [], [], hashlib.sha256(), _BadRows()
        with open_matches(self._matches) as opened:
            matches = opened.read(MATCHES.names).select(MATCHES.names)
        names = ["match_detail" if name == "detail" else name for name in MATCHES.names]
        matches = matches.rename_columns(names)
        if self._answered is not None:
            answered = pc.is_in(matches["photo_id"], value_set=self._answered)
            matches = matches.filter(pc.invert(answered))
        numbers = _numbers(matches["photo_id"])
        order = np.argsort(numbers, kind="stable")
        matches, numbers = matches.take(pa.array(order)), numbers[order]
        found = np.zeros(len(numbers), np.bool_)
        for batch in _photos(self._path, numbers[numbers > 0], bad, self._dropped):
            for row in batch.to_pylist():
                digest.update(f"{list(row.values())}\n".encode("utf-8", "backslashreplace"))
            self._photos.append(batch["photo_id"])
            of_photo, rows = _images_of(batch, numbers)
            found[rows] = True
            joined = pa.Table.from_batches([batch]).take(pa.array(of_photo))
            images = matches.take(pa.array(rows))
            for name in ("image_id", "wnid", "url", "match_detail"):
                joined = joined.append_column(name, images[name])
            records = self._permitted(joined)
            if len(records):
                yield _raw_batch(records)
        if self._answered is None:
            lacking = self._permitted(matches.filter(pa.array(~found)))
            remarks = lacking["match_detail"].to_pylist()
            details = pa.array([f"{LACKING}; {more}" if more else LACKING for more in remarks], pa.string())
            ids = {name: lacking[name] for name in ("image_id", "wnid")}
            rows = outcome_rows(Outcome.NOT_ASKED, len(lacking), detail=details, **ids)
            self._dropped += rows.to_batches()
        self._dropped += bad.outcomes().to_batches()
        self._digest = digest.hexdigest()

    def drops(self) -> Iterator[pa.RecordBatch]:
        """Yield the drops; if this is the only source, those of matching too."""
        if self._answered is None:
            yield from drops_of_matching(self._matches)
        yield from self._dropped

    def files(self) -> list[Place]:
        """Return the metadata, and the matches with their outcomes."""
        return [self._path, self._matches, outcomes_path(self._matches)]

    def inputs(self) -> dict[str, str]:
        """Return the SHA-256 of the matches file, and of the used metadata, whatever the form of its file."""
        self._read_whole()
        return {"matches": sha256(self._matches), "yfcc100m": str(self._digest)}

    def photo_ids(self) -> pa.Array:
        """Return the matched photos and videos that YFCC100M has."""
        self._read_whole()
        return pa.concat_arrays([pa.array([], pa.string()), *self._photos])

    def _read_whole(self) -> None:
        if self._digest is None:
            for _ in self.batches():
                pass

    def _permitted(self, rows: pa.Table) -> pa.Table:
        permitted, denied = self._deny.drop(rows)
        if len(denied):
            self._dropped += self._deny.outcomes(denied).to_batches()
        return permitted


class JoinedSource(RawSource):
    """A `RawSource` of several; each leaves to the others what they have, and may ask them once they were read."""

    def __init__(self, *sources: RawSource) -> None:
        self._sources = sources

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the RAW batches of all, in order."""
        for source in self._sources:
            yield from source.batches()

    def drops(self) -> Iterator[pa.RecordBatch]:
        """Yield the drops of all."""
        for source in self._sources:
            yield from source.drops()

    def files(self) -> list[Place]:
        """Return the files that they read."""
        return [path for source in self._sources for path in source.files()]

    def inputs(self) -> dict[str, str]:
        """Return the digests of all their inputs."""
        return {role: digest for source in self._sources for role, digest in source.inputs().items()}

    def measured(self) -> dict[str, Any]:
        """Return what they counted."""
        return {name: value for source in self._sources for name, value in source.measured().items()}


def extract_photos(path: Place, matches: Place, out: Place, overwrite: bool = False) -> int:
    """Write the metadata of the matched photos to `out`, one row a photo, and return their number.

    Unreadable rows are counted in `outcomes_path(out)`.
    """
    bad, count = _BadRows(), 0
    dropped: list[pa.RecordBatch] = []
    inputs = [path, matches, outcomes_path(matches)]
    with producing([out], inputs, overwrite, [outcomes_path(out)]) as (beside, product):
        with open_parquet_writer(product, PHOTOS) as writer:
            for batch in _photos(path, _matched(matches), bad, dropped):
                writer.write_batch(batch)
                count += len(batch)
        outcomes = [bad.outcomes(), pa.Table.from_batches(dropped, OUTCOMES)]
        write_table(pa.concat_tables(outcomes), beside)
    return count


def photo_ids(path: Place, matches: Place) -> pa.Array:
    """Return the matched photos and videos that YFCC100M has."""
    found = [batch["photo_id"] for batch in _photos(path, _matched(matches), _BadRows(), [])]
    return pa.concat_arrays([pa.array([], pa.string()), *found])


def _matched(matches: Place) -> Numbers:
    """Return the numbers of the matched photos, sorted."""
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


def _raw_batch(records: pa.Table) -> pa.RecordBatch:
    size = len(records)
    stills = [STILL if video else None for video in records["is_video"].to_pylist()]
    details, match_details = (records[name].to_pylist() for name in ("detail", "match_detail"))
    remarks = zip(stills, details, match_details, strict=True)
    made = {
        "source": pa.array(["yfcc100m"] * size),
        # YFCC100M is of 2014, without a date.
        "retrieved_at": pa.nulls(size, RAW.field("retrieved_at").type),
        "detail": pa.array(["; ".join(filter(None, each)) or None for each in remarks], pa.string()),
    }
    columns = [made[name] if name in made else records[name].combine_chunks() for name in RAW.names]
    return pa.RecordBatch.from_arrays(columns, schema=RAW)


def _photos(path: Place, wanted: Numbers, bad: _BadRows, dropped: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield PHOTOS batches of the photos with these numbers (sorted); unreadable rows go to `bad`."""
    require_there(path, "YFCC100M's metadata")
    if path.is_dir():
        parts = sorted(part for part in path.glob(f"{TABLE}*") if part.is_file())
        if not parts:
            raise InputError(f"the folder {path} has no file called {TABLE}*; give the file with YFCC100M's metadata")
        texts = (_in_text(part, wanted, bad, f"part {number}, ") for number, part in enumerate(parts, 1))
        yield from _photo_batches(chain.from_iterable(texts))
        return
    with path.open("rb") as opened:
        is_extract = opened.read(4) == b"PAR1"
    if not is_extract:
        yield from _photo_batches((_in_sqlite if is_sqlite(path) else _in_text)(path, wanted, bad))
    else:
        ids = pa.array(wanted).cast(pa.string())
        with ParquetFile(path) as opened:
            if opened.schema_arrow.names != PHOTOS.names:
                raise InputError(f"{path} is Parquet, but not one that extract-yfcc wrote; give YFCC100M's metadata")
            for batch in read_batches(opened):
                photos = pa.Table.from_batches([batch]).cast(PHOTOS)
                yield from photos.filter(pc.is_in(photos["photo_id"], value_set=ids)).to_batches()
        if outcomes_path(path).is_file():
            with ParquetFile(outcomes_path(path)) as opened:
                dropped += opened.read().cast(OUTCOMES).to_batches()


def _photo_batches(photos: Iterable[_Photo]) -> Iterator[pa.RecordBatch]:
    for some in in_batches(photos, _BATCH_ROWS):
        columns = [pa.array([getattr(photo, field.name) for photo in some], field.type) for field in PHOTOS]
        yield pa.RecordBatch.from_arrays(columns, schema=PHOTOS)


def _in_text(path: Place, wanted: Numbers, bad: _BadRows, part: str = "") -> Iterator[_Photo]:
    """Yield the photos in the order of the file.

    The first block decides the layout of the whole file. Otherwise a line that lost two of its 25 fields would be read
    as one of 23, with its line number as the photo's id.
    """
    blocks = read_blocks(path, "YFCC100M's metadata")
    first = next(blocks, None)
    if first is None:
        raise InputError(f"{path} is empty; give YFCC100M's metadata")
    counts = {layout: np.count_nonzero(_ids_in(lines_of(first), layout)) for layout in LAYOUTS}
    layout = max(LAYOUTS, key=lambda each: counts[each])
    if not counts[layout]:
        raise InputError(
            f"{path} is not YFCC100M's metadata: no line has 25 or 23 fields between tabs, with a photo's id "
            "among them; give yfcc100m_dataset, plain or as .bz2 or .gz, or yfcc100m_dataset.sql"
        )
    before = 0
    wanted = np.append(wanted, np.iinfo(np.int64).max)  # an end for what is larger than all of them
    workers = min(default_workers(), _MOST_WORKERS)
    search = partial(_search, layout, wanted)
    for block in LOCAL.run(search, chain([first], blocks), workers, threads=True):
        for line, row in block.rows:
            if isinstance(row, _Photo):
                yield row
            else:
                bad.add(f"{part}line {before + line + 1}", row)
        bad.count += block.more_unreadable
        before += block.lines


class _Block(NamedTuple):
    """The content of one block: wanted photos and unreadable lines, by their line from its start."""

    lines: int
    rows: list[tuple[int, _Photo | str]]
    more_unreadable: int


def _search(layout: Layout, wanted: Numbers, block: bytes) -> _Block:
    lines = lines_of(block)
    numbers = _ids_in(lines, layout)
    found = np.flatnonzero(wanted[np.searchsorted(wanted, numbers)] == numbers)
    odd = np.flatnonzero(numbers == 0)
    blank = pc.match_substring_regex(lines.take(pa.array(odd)), r"^\r?\n$")
    odd = odd[~blank.to_numpy(zero_copy_only=False)]
    rows: list[tuple[int, _Photo | str]] = []
    for line in sorted([*found.tolist(), *odd[:MOST_LISTED].tolist()]):
        text = lines[line].as_py()[:-1].decode("utf-8", "replace").removesuffix("\r")
        found_photo = numbers[line] > 0
        rows.append((line, _read_photo(named(text.split("\t"))) if found_photo else shortened(text)))
    return _Block(len(lines), rows, max(len(odd) - MOST_LISTED, 0))


def _ids_in(lines: pa.BinaryArray, layout: Layout) -> Numbers:
    """Return the photo's id in each line as a number; 0 for a line that does not have this layout."""
    _, offsets, block = lines.buffers()
    tabs = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\t"))
    whole = np.diff(np.searchsorted(tabs, np.frombuffer(offsets, np.int32))) == layout.fields - 1
    ids = pc.extract_regex(lines, rf"^(?:[^\t\n]*\t){{{layout.photo_id}}}(?P<id>{_PHOTO_ID})\t").flatten()[0]
    rows = np.flatnonzero(whole & ids.is_valid().to_numpy(zero_copy_only=False))
    numbers = np.zeros(len(lines), np.int64)
    numbers[rows] = ids.take(pa.array(rows)).cast(pa.string()).cast(pa.int64())
    return numbers


def _in_sqlite(path: Place, wanted: Numbers, bad: _BadRows) -> Iterator[_Photo]:
    """Yield the photos in the table; it is opened as immutable, and read through an index on photoid if it has one."""
    path = require_local(path, "the SQLite file", "SQLite reads files of this machine alone")
    names = ", ".join(COLUMNS.values())
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            connection.text_factory = lambda value: value.decode("utf-8", "replace")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("CREATE TEMP TABLE wanted (photo_id TEXT)")
            numbers = ((number,) for number in wanted.tolist())
            connection.executemany("INSERT INTO wanted VALUES (?)", numbers)
            wanted_rows = f"SELECT {names} FROM {TABLE} WHERE photoid IN (SELECT photo_id FROM wanted)"
            for row in connection.execute(wanted_rows):
                photo = _read_photo(dict(zip(COLUMNS, map(_text, row), strict=True)))
                if isinstance(photo, _Photo):
                    yield photo
                else:
                    bad.add(f"photo {_text(row[0])}", photo)
    except sqlite3.Error as error:
        raise InputError(
            f"the SQLite file {path} cannot be read ({error}); give yfcc100m_dataset.sql as it was published"
        ) from None


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return "" if value is None else str(value)


def _read_photo(row: Mapping[str, str]) -> _Photo | str:
    """Read a row with the fields of `COLUMNS`; returns the reason as text if it cannot be used.

    Machine tags, which have a field of their own, are left out: cleaning would drop them.
    """
    photo_id, page, marker = row["photo_id"], row["photo_page"], row["marker"]
    if marker not in ("0", VIDEO):
        return f"the marker is {quoted(marker)}, neither 0 nor 1"
    if read_address(page).photo_id not in (None, photo_id):
        return f"the page {quoted(page)} is not that of photo {photo_id}"
    owner = row["owner"] or None
    if not page.startswith(("http://", "https://")):
        page = f"https://www.flickr.com/photos/{owner}/{photo_id}/" if owner else ""
    posted = int(row["date_posted"]) if re.fullmatch("[0-9]{1,12}", row["date_posted"]) else None
    tags = decoded_tags(row["tags"])
    is_normalised = bool(tags) and all(tag.isalnum() and tag == tag.lower() for tag in tags)
    return _Photo(
        photo_id=photo_id,
        title=decoded(row["title"]),
        description=decoded(row["description"]),
        tags=tags,
        owner=owner,
        owner_name=decoded(row["owner_name"]) or None,
        license=_LICENSES.get(_license_key(row["license_url"])),
        date_taken=_moment(row["date_taken"]),
        date_posted=posted if posted is not None and posted <= LATEST_POSIX_TIME else None,
        photo_page=page or None,
        detail=NORMALISED if is_normalised else None,
        is_video=marker == VIDEO,
    )


def _moment(text: str) -> datetime | None:
    # 2010-07-16 20:47:02.0, the camera's clock; "null" where it was not set
    found = _MOMENT.fullmatch(text)
    try:
        return datetime.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def _license_key(url: str) -> str:
    return _BEFORE_THE_LICENSE.sub("", url, count=1).rstrip("/").lower()


_LICENSES = {_license_key(entry.url): entry.id for entry in LICENSES if entry.url is not None}
