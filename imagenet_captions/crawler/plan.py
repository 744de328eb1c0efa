"""Read the state of photos from a store, and choose the photos that a run asks for and their order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.crawler.answers import parse_photo
from imagenet_captions.crawler.limits import ANSWERS_AT_ONCE
from imagenet_captions.crawler.policy import FINAL_STATES, State, parse_stored
from imagenet_captions.crawler.store import Store, Stored, StoreReader
from imagenet_captions.errors import shortened
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.flickr.photo_record import PhotoRecord
from imagenet_captions.sources.matches import open_matches
from imagenet_captions.storage.places import Place
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


def wanted_photos(matches: Place, deny: Denylist = NOTHING_DENIED) -> pa.Array:
    """Return the distinct photo ids of the matches that are not denied, in order of appearance.

    A photo that belongs to several images is asked for once.
    """
    with open_matches(matches) as opened:
        wanted, _ = deny.drop(opened.read(columns=["image_id", "photo_id", "url"] if deny else ["photo_id"]))
        return pc.unique(wanted["photo_id"])


def photos_to_ask(
    wanted: pa.Array, store: Store, older_than: float | None, elsewhere: pa.Array | None = None
) -> pa.ChunkedArray:
    """Return the photos to ask for: new ones, then those with an old answer, then failures of earlier runs.

    `older_than` is a Unix time. Failures come last so that they do not delay the rest. Photos in `elsewhere` are left
    out, unless the store has an old answer about them: readers prefer the store to other sources. A damaged answer
    counts as none.
    """
    damaged = _damaged(store.path)
    final = _ids(store.ids(FINAL_STATES))
    final, failed = final.filter(pc.invert(pc.is_in(final, damaged))), _ids(store.ids([State.UNREACHABLE]))
    missing = wanted if elsewhere is None else wanted.filter(pc.invert(pc.is_in(wanted, elsewhere)))
    fresh = missing.filter(pc.invert(pc.or_(pc.is_in(missing, final), pc.is_in(missing, failed))))
    again = missing.filter(pc.is_in(missing, failed))
    warn_of_damage(fresh.filter(pc.is_in(fresh, damaged)).to_pylist(), "asked for again")
    old = _ids(store.ids([State.OK], older_than) if older_than is not None else iter(()))
    old = old.filter(pc.is_in(old, final))
    return pa.chunked_array([fresh, wanted.filter(pc.is_in(wanted, old)), again], pa.string())


def _damaged(store: Path) -> pa.Array:
    with closing(StoreReader(store)) as reader:
        return _ids(photo_id for photo_id, state in read_states(reader) if state is State.DAMAGED)


def without_denied_owners(photos: pa.ChunkedArray, store: Place, deny: Denylist) -> pa.ChunkedArray:
    """Return the photos whose owner, by an answer in the store, is not denied.

    Before the first answer, a photo's owner is known only if its address names one.
    """
    if not deny.owners or not len(photos):
        return photos
    denied = []
    with closing(StoreReader(store)) as reader:
        for start in range(0, len(photos), ANSWERS_AT_ONCE):
            for photo_id, stored in reader.each(photos.slice(start, ANSWERS_AT_ONCE).to_pylist()):
                record = read_status(photo_id, stored).record
                if record and deny.denies_owner(record.owner, record.photo_page):
                    denied.append(photo_id)
    return photos.filter(pc.invert(pc.is_in(photos, _ids(iter(denied)))))


def _ids(ids: Iterator[str]) -> pa.Array:
    return pa.array(ids, pa.string())
