"""Read the state of photos from a store and find damaged answers. Used by `plan` and `source`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imagenet_captions.crawler.answers import parse_photo
from imagenet_captions.crawler.policy import FINAL_STATES, State, parse_stored
from imagenet_captions.crawler.store import Stored, StoreReader
from imagenet_captions.errors import shortened
from imagenet_captions.flickr.photo_record import PhotoRecord
from imagenet_captions.storage.progress import track

log = logging.getLogger(__name__)

_MOST_NAMED = 5
_WORTH_A_BAR = 20_000  # answers, which take half a second


@dataclass(frozen=True)
class PhotoStatus:
    """The state of a photo, a remark on it, and its record if Flickr has the photo."""

    state: State
    remark: str = ""
    record: PhotoRecord | None = None
    retrieved_at: int | None = None


def read_status(photo_id: str, stored: Stored) -> PhotoStatus:
    """Return the status of a photo; DAMAGED if the stored answer contradicts the stored state."""
    if stored.state not in FINAL_STATES or stored.answer is None:
        return PhotoStatus(stored.state, stored.last_error or "")
    parsed = parse_stored(photo_id, stored.state, stored.answer)
    if parsed is None:
        return PhotoStatus(State.DAMAGED, f"it does not say that the photo is {stored.state.value!r}")
    if stored.state is State.OK:
        return PhotoStatus(State.OK, record=parse_photo(photo_id, parsed["photo"]), retrieved_at=stored.retrieved_at)
    return PhotoStatus(stored.state, shortened(parsed.get("message", "")))


def read_states(reader: StoreReader) -> Iterator[tuple[str, State]]:
    """Yield every photo that has an answer, with its state, which may be DAMAGED."""
    count = reader.count()
    rows = reader.answers()
    for photo_id, stored in track(rows, "read the store", count, "answers") if count > _WORTH_A_BAR else rows:
        sound = stored.answer is not None and parse_stored(photo_id, stored.state, stored.answer) is not None
        yield photo_id, stored.state if sound else State.DAMAGED


def warn_of_damage(photo_ids: Sequence[str], then: str) -> None:
    """Log the number of damaged answers, the first of their photos, and what happens `then`."""
    if photo_ids:
        many = len(photo_ids) > 1
        names = ", ".join([*photo_ids[:_MOST_NAMED], *["…"] * (len(photo_ids) > _MOST_NAMED)])
        log.warning(
            "%d answer%s of the store %s damaged and %s: photo%s %s",
            *(len(photo_ids), "s" * many, "are" if many else "is", then, "s" * many, names),
        )
