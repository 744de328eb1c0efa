"""A crawl as a source of raw records: the matches joined with the stored answers. Used by cleaning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa

from imagenet_captions import schema as records
from imagenet_captions.crawler.limits import ANSWERS_AT_ONCE, MOST_HELD
from imagenet_captions.crawler.plan import PhotoStatus, read_states, read_status, warn_of_damage
from imagenet_captions.crawler.policy import FINAL_STATES, State
from imagenet_captions.crawler.store import Stored, StoreReader, store_revision
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.flickr.photo_record import STILL, PhotoRecord
from imagenet_captions.flickr.survival import Survival
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcomes_path
from imagenet_captions.sources.matches import drops_of_matching, open_matches
from imagenet_captions.storage import files
from imagenet_captions.storage.parquet import ParquetFile, read_batches
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

__all__ = ["CrawlSource", "answered_photos", "store_revision"]

_OUTCOMES = {
    State.NOT_FOUND: Outcome.NOT_FOUND,
    State.PRIVATE: Outcome.PRIVATE,
    State.UNREACHABLE: Outcome.UNREACHABLE,
    State.WAITING: Outcome.UNREACHABLE,
}


class CrawlSource:
    """Raw records from `matches.parquet` and the store of its crawl, in the order of the matches.

    Photos in `elsewhere` are left to another source, unless the store has an answer about them.
    """

    def __init__(
        self, matches: Place, store: Place, deny: Denylist = NOTHING_DENIED, elsewhere: pa.Array | None = None
    ) -> None:
        self._matches, self._store, self._deny = matches, store, deny
        self._elsewhere = frozenset(() if elsewhere is None else elsewhere.to_pylist())
        self._drops: list[pa.RecordBatch] = []
        self._digest: str | None = None
        self._survival = Survival()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield RAW batches; photos without a record go to the drops."""
        self._drops, digest, self._survival = [], hashlib.sha256(), Survival()
        damaged: dict[str, None] = {}
        with (
            closing(StoreReader(self._store)) as store,
            open_matches(self._matches) as opened,
            progress("read answers", opened.metadata.num_rows, "images") as bar,
        ):
            for batch, answers in _with_answers(store, opened):
                raw, dropped = [], []
                for row in self._permitted(batch, answers):
                    photo_id = row["photo_id"]
                    stored = answers.get(photo_id)
                    status = None if stored is None else read_status(photo_id, stored)
                    _update(digest, row, stored)
                    _count(photo_id, status, self._survival)
                    if status and status.state is State.DAMAGED:
                        damaged[photo_id] = None
                    if status and status.record:
                        raw.append(_raw_record(row, status.record, status.retrieved_at))
                    else:
                        dropped.append(_drop(row, status))
                if dropped:
                    self._drops.append(pa.RecordBatch.from_pylist(dropped, OUTCOMES))
                if raw:
                    yield pa.RecordBatch.from_pylist(raw, records.RAW)
                bar.update(len(batch))
        self._digest = digest.hexdigest()
        warn_of_damage([*damaged], "left out as bad_record until a crawl asks for it again")

    def drops(self) -> Iterator[pa.RecordBatch]:
        """Yield the drops of matching, then those of the crawl."""
        yield from drops_of_matching(self._matches)
        yield from self._drops

    def files(self) -> list[Place]:
        """Return the store, and the matches with their outcomes."""
        return [self._store, self._matches, outcomes_path(self._matches)]

    def inputs(self) -> dict[str, str]:
        """Return the SHA-256 of the matches file and of the answers, whenever they were retrieved."""
        if self._digest is None:
            for _ in self.batches():
                pass
        return {"matches": files.sha256(self._matches), "crawl": str(self._digest)}

    def measured(self) -> dict[str, Any]:
        """Return which of the photos in question Flickr still has."""
        survival = self._survival.result()
        return {"survival": survival} if survival else {}

    def _permitted(self, batch: pa.RecordBatch, answers: dict[str, Stored]) -> list[dict[str, Any]]:
        """Return the rows that belong to this source and are not denied; denied ones go to the drops."""
        ours = [self._has(photo_id, answers) for photo_id in batch["photo_id"].to_pylist()]
        permitted, denied = self._deny.drop(batch.filter(pa.array(ours, pa.bool_())))
        if len(denied):
            self._drops += self._deny.outcomes(denied).to_batches()
        rows: list[dict[str, Any]] = permitted.to_pylist()
        return rows

    def _has(self, photo_id: str, answers: dict[str, Stored]) -> bool:
        if photo_id not in self._elsewhere:
            return True
        return photo_id in answers and read_status(photo_id, answers[photo_id]).state in FINAL_STATES


def _with_answers(store: StoreReader, matches: ParquetFile) -> Iterator[tuple[pa.RecordBatch, dict[str, Stored]]]:
    """Yield the matches in batches, with the answers about their photos."""
    for batch in read_batches(matches, ANSWERS_AT_ONCE, ["image_id", "wnid", "photo_id", "url", "detail"]):
        yield from _in_parts(store, batch)


def _in_parts(store: StoreReader, batch: pa.RecordBatch) -> Iterator[tuple[pa.RecordBatch, dict[str, Stored]]]:
    """Yield a batch with its answers; in halves if they are more than `MOST_HELD` bytes."""
    answers, size = {}, 0
    for photo_id, stored in store.each(batch["photo_id"].unique().to_pylist()):
        answers[photo_id] = stored
        size += len(stored.answer or b"")
        if size > MOST_HELD and len(batch) > 1:
            half = len(batch) // 2
            answers.clear()
            yield from _in_parts(store, batch.slice(0, half))
            yield from _in_parts(store, batch.slice(half))
            return
    yield batch, answers


def answered_photos(store: Place) -> pa.Array:
    """Return the photos that a store has a final, undamaged answer about."""
    with closing(StoreReader(store)) as reader:
        sound = [photo_id for photo_id, state in read_states(reader) if state is not State.DAMAGED]
    return pa.array(sound, pa.string())


def _raw_record(row: dict[str, Any], record: PhotoRecord, retrieved_at: int | None) -> dict[str, Any]:
    """Return the raw record of a matched image."""
    detail = _joined(STILL if record.is_video else "", row["detail"])
    return {**row, **vars(record), "source": "flickr", "retrieved_at": retrieved_at, "detail": detail}


def _drop(row: dict[str, Any], status: PhotoStatus | None) -> dict[str, Any]:
    """Return the drop of a matched image without a record."""
    outcome, reason = _outcome(row["photo_id"], status)
    return {**row, "outcome": outcome.value, "detail": _joined(reason, row["detail"]), "count": 1}


def _count(photo_id: str, status: PhotoStatus | None, survival: Survival) -> None:
    if status is not None and status.record is not None:
        survival.add(photo_id, status.record.date_posted, status.record.license)
    elif status is not None and status.state in (State.NOT_FOUND, State.PRIVATE):
        survival.add_gone(photo_id)


def _joined(*remarks: str | None) -> str | None:
    return "; ".join(filter(None, remarks)) or None


def _outcome(photo_id: str, status: PhotoStatus | None) -> tuple[Outcome, str]:
    """Return the outcome of a matched image without a record, and the reason."""
    if status is None:
        return Outcome.NOT_ASKED, ""
    if status.state is State.DAMAGED:
        return Outcome.BAD_RECORD, f"the store's answer about photo {photo_id} is damaged: {status.remark}"
    return _OUTCOMES[status.state], status.remark


def _update(digest: Any, row: dict[str, Any], stored: Stored | None) -> None:
    state = stored.state.value if stored else "not_asked"
    answer = (stored and stored.answer) or b""
    digest.update(f"{row['image_id']}\t{row['photo_id']}\t{state}\t{len(answer)}\n".encode())
    digest.update(answer)
