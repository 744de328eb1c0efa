"""Read the answers in a store, and the crawl as a source of raw records: the matches joined with the answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pyarrow as pa

from imagenet_captions.crawler.policy import FINAL_STATES, State
from imagenet_captions.crawler.store import Stored, read_store
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.flickr.photos import LATEST_POSIX_TIME, STILL, PhotoRecord, Survival
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcomes_path
from imagenet_captions.schema import RAW, RawSource
from imagenet_captions.sources.matches import drops_beside, open_matches
from imagenet_captions.storage.files import sha256
from imagenet_captions.storage.parquet import read_batches
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

_BATCH_ROWS = 1000
_NOT_ASKED = Stored(State.NOT_ASKED)
_OUTCOMES = {
    State.NOT_ASKED: Outcome.NOT_ASKED,
    State.NOT_FOUND: Outcome.NOT_FOUND,
    State.PRIVATE: Outcome.PRIVATE,
    State.UNREACHABLE: Outcome.UNREACHABLE,
    State.WAITING: Outcome.UNREACHABLE,
    State.DAMAGED: Outcome.BAD_RECORD,
}


def answered_photos(store: Place) -> pa.Array:
    """Return the photos that a store has a final, undamaged answer about."""
    with read_store(store) as reader:
        found = [photo_id for photo_id, stored in reader.photos() if stored.state in FINAL_STATES]
    return pa.array(found, pa.string())


class CrawlSource(RawSource):
    """Raw records from `matches.parquet` and the store of its crawl, in the order of the matches.

    The photos that `elsewhere` returns are left to another source, which leaves those with an answer to this one.
    """

    def __init__(
        self,
        matches: Place,
        store: Place,
        deny: Denylist = NOTHING_DENIED,
        elsewhere: Callable[[], pa.Array] | None = None,
    ) -> None:
        super().__init__([store, matches, outcomes_path(matches)])
        self._matches, self._store, self._deny, self._elsewhere = matches, store, deny, elsewhere

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield RAW batches; photos without a record go to the drops."""
        self.drops += drops_beside(self._matches)
        survival, digest = Survival(), hashlib.sha256()
        elsewhere = frozenset(self._elsewhere().to_pylist() if self._elsewhere else ())
        columns = ["image_id", "wnid", "photo_id", "url", "detail"]
        with (
            read_store(self._store) as store,
            open_matches(self._matches) as opened,
            progress("read answers", opened.metadata.num_rows, "images") as bar,
        ):
            for batch in read_batches(opened, _BATCH_ROWS, columns):
                ours = [photo_id not in elsewhere for photo_id in batch["photo_id"].to_pylist()]
                batch = batch.filter(pa.array(ours, pa.bool_()))
                permitted, denied = self._deny.drop(batch)
                raw, dropped = [], []
                for row in permitted.to_pylist():
                    stored = store.get(row["photo_id"]) or _NOT_ASKED
                    state, size = stored.state.value, len(stored.answer)
                    digest.update(f"{row['image_id']}\t{row['photo_id']}\t{state}\t{size}\n".encode())
                    digest.update(stored.answer)
                    if stored.photo is not None:
                        record = parse_photo(row["photo_id"], stored.photo)
                        survival.add(row["photo_id"], record)
                        detail = _joined(STILL if record.is_video else "", row["detail"])
                        of_answer = {"source": "flickr", "retrieved_at": stored.retrieved_at, "detail": detail}
                        raw.append({**row, **vars(record), **of_answer})
                        continue
                    if stored.state in (State.NOT_FOUND, State.PRIVATE):
                        survival.add(row["photo_id"], None)
                    detail = _joined(stored.remark, row["detail"])
                    dropped.append({**row, "outcome": _OUTCOMES[stored.state].value, "detail": detail, "count": 1})
                self.drops += denied.to_batches()
                self.drops.append(pa.RecordBatch.from_pylist(dropped, OUTCOMES))
                if raw:
                    yield pa.RecordBatch.from_pylist(raw, RAW)
                bar.update(len(batch))
        self.inputs = {"matches": sha256(self._matches), "crawl": digest.hexdigest()}
        self.measured = {"survival": found} if (found := survival.result()) else {}


def _joined(*remarks: str | None) -> str | None:
    return "; ".join(filter(None, remarks)) or None


# The answer of flickr.photos.getInfo. Flickr's types vary: a number may come as text, a key may be null or missing, and
# a text may come bare or as {"_content": text}. A field that cannot be read becomes null, or empty where null is not
# allowed; nothing here raises.


def parse_photo(photo_id: str, photo: dict[str, Any]) -> PhotoRecord:
    """Return the record of the `photo` object in an answer.

    >>> parse_photo("7", {"title": {"_content": "Heron"}, "license": "4", "owner": {"nsid": "1@N01"}}).photo_page
    'https://www.flickr.com/photos/1@N01/7/'
    """
    owner, dates = _object(photo.get("owner")), _object(photo.get("dates"))
    nsid = _text(owner.get("nsid")) or None
    page = f"https://www.flickr.com/photos/{nsid}/{photo_id}/" if nsid else None
    for url in reversed(_list(_object(photo.get("urls")).get("url"))):
        if _object(url).get("type") == "photopage" and _text(url).startswith(("https://", "http://")):
            page = _text(url)
    # {"tag": [{"raw": "New York City", "_content": "newyorkcity", "machine_tag": 0}, …]}
    tags = _list(_object(photo.get("tags")).get("tag"))
    return PhotoRecord(
        title=_text(photo.get("title")),
        description=_text(photo.get("description")),
        tags=[_text(tag if _object(tag).get("raw") is None else tag["raw"]) for tag in tags],
        owner=nsid,
        owner_name=_text(owner.get("username")) or None,
        license=_number(photo.get("license"), 127),
        date_taken=None if _text(dates.get("takenunknown")) == "1" else _moment(dates.get("taken")),
        date_posted=_number(dates.get("posted") or photo.get("dateuploaded"), LATEST_POSIX_TIME),
        photo_page=page,
        is_video=_text(photo.get("media")) == "video",
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    value = value.get("_content") if isinstance(value, dict) else value
    if value is None or isinstance(value, dict | list):
        return ""
    # JSON can hold half of a surrogate pair ("\\ud83d"), which is not a character and which Arrow refuses.
    text = str(value)
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(value: Any, largest: int) -> int | None:
    text = _text(value)
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 15 else None
    return number if number is not None and number <= largest else None


def _moment(value: Any) -> datetime | None:
    """Return a time by the camera's clock; "0000-00-00 00:00:00" means unknown."""
    try:
        return datetime.fromisoformat(_text(value)).replace(tzinfo=None, microsecond=0)
    except ValueError:
        return None
