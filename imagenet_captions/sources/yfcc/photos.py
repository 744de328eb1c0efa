"""Read rows of YFCC100M's metadata as photos, and collect the rows that cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import pyarrow as pa

from imagenet_captions.engines.local import in_batches
from imagenet_captions.flickr.addresses import read_address
from imagenet_captions.flickr.licenses import LICENSES
from imagenet_captions.flickr.photo_record import LATEST_POSIX_TIME, PhotoRecord
from imagenet_captions.outcomes import MOST_LISTED, bad_records
from imagenet_captions.schema import PHOTOS
from imagenet_captions.sources.yfcc import layout as yfcc

_BATCH_ROWS = 2048
_LICENSES = {
    (parts.netloc, parts.path.rstrip("/")): entry.id for entry in LICENSES if (parts := urlsplit(entry.url or "")).path
}
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?")
NORMALISED = "tags in Flickr's normalized form"


@dataclass(frozen=True, kw_only=True)
class Photo(PhotoRecord):
    """A photo or video of YFCC100M; texts are decoded and otherwise unchanged."""

    photo_id: str
    detail: str | None


def read_photo(row: Mapping[str, str]) -> Photo | str:
    """Read a row with the fields of `yfcc.COLUMNS`; returns the reason as text if it cannot be used.

    Machine tags, which have a field of their own, are left out: cleaning would drop them.
    """
    photo_id, page, marker = row["photo_id"], row["photo_page"], row["marker"]
    if marker not in ("0", yfcc.VIDEO):
        return f"the marker is {shown(marker)}, neither 0 nor 1"
    if read_address(page).photo_id not in (None, photo_id):
        return f"the page {shown(page)} is not that of photo {photo_id}"
    owner = row["owner"] or None
    if not page.startswith(("http://", "https://")):
        page = f"https://www.flickr.com/photos/{owner}/{photo_id}/" if owner else ""
    tags = yfcc.decoded_tags(row["tags"])
    return Photo(
        photo_id=photo_id,
        title=yfcc.decoded(row["title"]),
        description=yfcc.decoded(row["description"]),
        tags=tags,
        owner=owner,
        owner_name=yfcc.decoded(row["owner_name"]) or None,
        license=license_number(row["license_url"]),
        date_taken=_moment(row["date_taken"]),
        date_posted=_posted(row["date_posted"]),
        photo_page=page or None,
        detail=NORMALISED if tags and all(map(is_normalised, tags)) else None,
        is_video=marker == yfcc.VIDEO,
    )


def photo_batches(photos: Iterable[Photo]) -> Iterator[pa.RecordBatch]:
    """Yield photos as PHOTOS batches."""
    yield from map(_batch, in_batches(photos, _BATCH_ROWS))


def _batch(photos: list[Photo]) -> pa.RecordBatch:
    columns = [pa.array([getattr(photo, field.name) for photo in photos], field.type) for field in PHOTOS]
    return pa.RecordBatch.from_arrays(columns, schema=PHOTOS)


def license_number(url: str) -> int | None:
    """Return Flickr's number of the license at an address; None if Flickr does not have it.

    >>> license_number("http://creativecommons.org/licenses/by-nc/2.0/"), license_number("")
    (2, None)
    """
    parts = urlsplit(url) if url.isascii() and "[" not in url else urlsplit("")
    return _LICENSES.get((parts.netloc.lower().removeprefix("www."), parts.path.rstrip("/").lower()))


def is_normalised(tag: str) -> bool:
    """Return whether a tag is in the form that Flickr uses in addresses: "New York City" becomes "newyorkcity".

    >>> is_normalised("newyorkcity"), is_normalised("new york"), is_normalised("Heron")
    (True, False, False)
    """
    return tag.isalnum() and tag == tag.lower()


def shown(text: str) -> str:
    """Return a text for a message: short, and in ASCII."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def _moment(text: str) -> datetime | None:
    # 2010-07-16 20:47:02.0, the camera's clock; "null" where it was not set
    found = _MOMENT.fullmatch(text)
    try:
        return datetime.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def _posted(text: str) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        return None
    return int(text) if int(text) <= LATEST_POSIX_TIME else None


class BadRows:
    """Rows that cannot be read: the first ones are listed, all are counted, so that memory is bounded."""

    def __init__(self) -> None:
        self.count = 0
        self._listed: list[str] = []

    def add(self, where: str, what: str) -> None:
        """Add a row, with its position and what is wrong with it, shortened."""
        self.count += 1
        if len(self._listed) < MOST_LISTED:
            self._listed.append(f"YFCC100M, {where}: {what}")

    def outcomes(self) -> pa.Table:
        """Return an OUTCOMES row for each listed row, and one for the rest."""
        return bad_records(self._listed, self.count, "YFCC100M: more rows that cannot be read")
