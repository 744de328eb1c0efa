"""What a store knows about photos, and which of its answers are damaged; shared by the crawl and by cleaning."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from imagenet_captions.crawler.policy import FINAL_STATES, State, parse_stored, shorten
from imagenet_captions.crawler.store import Stored, StoreReader

log = logging.getLogger(__name__)

_MOST_NAMED = 5
_WORTH_A_LINE = 50_000  # answers, which take a few seconds


@dataclass(frozen=True)
class Known:
    """What is known about a photo: its state, and a remark; of a final state the parsed answer, and when it came."""

    state: State
    remark: str
    answer: dict[str, Any] = field(default_factory=dict)
    retrieved_at: int | None = None


def read_stored(photo_id: str, stored: Stored) -> Known:
    """Return what a row says about its photo; DAMAGED where its answer does not say what its state says."""
    if stored.state not in FINAL_STATES or stored.answer is None:
        return Known(stored.state, stored.last_error or "")
    parsed = parse_stored(photo_id, stored.state, stored.answer)
    if parsed is None:
        return Known(State.DAMAGED, f"it does not say that the photo is {stored.state.value!r}")
    return Known(stored.state, shorten(str(parsed.get("message", ""))), parsed, stored.retrieved_at)


def read_answers(reader: StoreReader) -> Iterator[tuple[str, Known]]:
    """Yield every photo that has an answer, sound or damaged, and what is known about it, under a progress bar."""
    count = reader.count()
    if count > _WORTH_A_LINE:
        log.info("reading %d answers of the store", count)
    with tqdm(total=count, unit="answer", desc="read the store", delay=1, disable=None) as bar:
        for photo_id, stored in reader.answers():
            yield photo_id, read_stored(photo_id, stored)
            bar.update()


def warn_of_damage(photo_ids: Sequence[str], then: str) -> None:
    """Log which photos have damaged answers, and what happens `then`; name the first few of many."""
    if photo_ids:
        many = len(photo_ids) > 1
        names = ", ".join([*photo_ids[:_MOST_NAMED], *["…"] * (len(photo_ids) > _MOST_NAMED)])
        log.warning(
            "%d answer%s of the store %s damaged and %s: photo%s %s",
            *(len(photo_ids), "s" * many, "are" if many else "is", then, "s" * many, names),
        )
