"""YFCC100M's metadata as a source of raw records: joined with the matches by photo id, without calls to Flickr.

    YfccSource(path, matches)         raw records of the matched photos that YFCC100M has
    extract_photos(path, matches, to) the metadata of only those photos, so that the 60 GB are read once
    photo_ids(path, matches)          the ids of those photos, which the crawl need not ask for

`path` is the text in either layout, plain or compressed; a folder with parts of it; the SQLite file; or a file that
`extract_photos` wrote.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.flickr.photo_record import STILL
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcome_rows, outcomes_path
from imagenet_captions.schema import PHOTOS, RAW
from imagenet_captions.sources.matches import drops_of_matching
from imagenet_captions.sources.yfcc.lines import Numbers, read_lines
from imagenet_captions.sources.yfcc.matches import join, read_matches, wanted_numbers
from imagenet_captions.sources.yfcc.photos import BadRows, Photo, photo_batches
from imagenet_captions.sources.yfcc.sqlite import read_table
from imagenet_captions.storage.files import is_sqlite, require_there, sha256
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import open_parquet_writer, parquet_file, read_batches, write_table
from imagenet_captions.storage.places import Place

LACKING = "YFCC100M does not have it, and Flickr was not asked"
_PARTS = "yfcc100m_dataset*"


class YfccSource:
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
        self._dropped, self._photos, digest, bad = [], [], hashlib.sha256(), BadRows()
        matched = read_matches(self._matches, self._answered)
        found = np.zeros(len(matched.numbers), np.bool_)
        for batch in _photos(self._path, matched.wanted, bad, self._dropped):
            for row in batch.to_pylist():
                digest.update(f"{list(row.values())}\n".encode("utf-8", "backslashreplace"))
            self._photos.append(batch["photo_id"])
            joined, rows = join(batch, matched)
            found[rows] = True
            records, denied = self._deny.drop(joined)
            self._drop_denied(denied)
            if len(records):
                yield pa.RecordBatch.from_arrays([_column(records, field) for field in RAW], schema=RAW)
        if self._answered is None:
            lacking, denied = self._deny.drop(matched.rows.filter(pa.array(~found)))
            self._drop_denied(denied)
            self._drop_lacking(lacking)
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

    def measured(self) -> dict[str, Any]:
        """Return nothing: nobody was asked about the photos."""
        return {}

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

    def _drop_lacking(self, rows: pa.Table) -> None:
        details = pa.array(
            [f"{LACKING}; {more}" if more else LACKING for more in rows["match_detail"].to_pylist()], pa.string()
        )
        ids = {name: rows[name] for name in ("image_id", "wnid")}
        self._dropped += outcome_rows(Outcome.NOT_ASKED, len(rows), detail=details, **ids).to_batches()

    def _drop_denied(self, rows: pa.Table | pa.RecordBatch) -> None:
        if len(rows):
            self._dropped += self._deny.outcomes(rows).to_batches()


def extract_photos(path: Place, matches: Place, out: Place, overwrite: bool = False) -> int:
    """Write the metadata of the matched photos to `out`, one row a photo, and return their number.

    Unreadable rows are counted in `outcomes_path(out)`.
    """
    bad, count = BadRows(), 0
    dropped: list[pa.RecordBatch] = []
    inputs = [path, matches, outcomes_path(matches)]
    with producing([out], inputs, overwrite, [outcomes_path(out)]) as (beside, product):
        with open_parquet_writer(product, PHOTOS) as writer:
            for batch in _photos(path, wanted_numbers(matches), bad, dropped):
                writer.write_batch(batch)
                count += len(batch)
        write_table(pa.concat_tables([bad.outcomes(), pa.Table.from_batches(dropped, OUTCOMES)]), beside)
    return count


def photo_ids(path: Place, matches: Place) -> pa.Array:
    """Return the matched photos and videos that YFCC100M has."""
    found = [batch["photo_id"] for batch in _photos(path, wanted_numbers(matches), BadRows(), [])]
    return pa.concat_arrays([pa.array([], pa.string()), *found])


def _column(records: pa.Table, field: pa.Field) -> pa.Array:
    if field.name == "source":
        return pa.array(["yfcc100m"] * len(records), field.type)
    if field.name == "retrieved_at":  # YFCC100M is of 2014, without a date
        return pa.nulls(len(records), field.type)
    if field.name == "detail":
        stills = [STILL if video else None for video in records["is_video"].to_pylist()]
        remarks = zip(stills, records["detail"].to_pylist(), records["match_detail"].to_pylist(), strict=True)
        return pa.array(["; ".join(filter(None, each)) or None for each in remarks], field.type)
    return pa.concat_arrays([pa.array([], field.type), *records[field.name].chunks])


def _photos(path: Place, wanted: Numbers, bad: BadRows, dropped: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield PHOTOS batches of the photos with these numbers (sorted)."""
    require_there(path, "YFCC100M's metadata")
    if path.is_file() and _is_parquet(path):
        yield from _extracted(path, wanted, dropped)
    else:
        yield from photo_batches(_read(path, wanted, bad))


def _read(path: Place, wanted: Numbers, bad: BadRows) -> Iterator[Photo]:
    if not path.is_dir():
        yield from read_table(path, wanted, bad) if is_sqlite(path) else read_lines(path, wanted, bad)
        return
    parts = sorted(part for part in path.glob(_PARTS) if part.is_file())
    if not parts:
        raise InputError(f"the folder {path} has no file called {_PARTS}; give the file with YFCC100M's metadata")
    for number, part in enumerate(parts, 1):
        if is_sqlite(part):
            raise InputError(f"the folder {path} contains the SQLite file {part.name}; give that file instead")
        yield from read_lines(part, wanted, bad, f"part {number}, ")


def _is_parquet(path: Place) -> bool:
    with path.open("rb") as opened:
        return opened.read(4) == b"PAR1"


def _extracted(path: Place, wanted: Numbers, dropped: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    ids = pa.array(wanted).cast(pa.string())
    with parquet_file(path) as opened:
        if opened.schema_arrow.names != PHOTOS.names:
            raise InputError(f"{path} is a Parquet file, but not one that extract-yfcc wrote; give YFCC100M's metadata")
        for batch in read_batches(opened):
            photos = pa.Table.from_batches([batch]).cast(PHOTOS)
            yield from photos.filter(pc.is_in(photos["photo_id"], value_set=ids)).to_batches()
    if outcomes_path(path).is_file():
        with parquet_file(outcomes_path(path)) as opened:
            dropped += opened.read().cast(OUTCOMES).to_batches()
