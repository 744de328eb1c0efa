"""Raw records for tests, and a source of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa

from imagenet_captions.outcomes import OUTCOMES
from imagenet_captions.schema import RAW, RawSource

TENCH, GOLDFISH, TOILET_TISSUE = "n01440764", "n01443537", "n15075141"


def record(
    image_id: str, title: str = "", description: str = "", tags: Sequence[str | None] = (), **more: Any
) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "wnid": image_id.partition("_")[0],
        "title": title,
        "description": description,
        "tags": list(tags),
        "source": "flickr",
        **more,
    }


FULL = record(
    f"{TENCH}_1",
    "A  tench",
    "caught <b>today</b>",
    ["fish", "Fish"],
    photo_id="5000000000",
    owner="1@N00",
    owner_name="somebody",
    license=4,
    date_taken=datetime(2009, 5, 1, 12, 0, 0),
    date_posted=datetime(2009, 5, 2, tzinfo=timezone.utc),
    photo_page="https://www.flickr.com/photos/1@N00/5000000000/",
    retrieved_at=datetime(2024, 1, 1, tzinfo=timezone.utc),
    detail="also at http://example.org/",
)


def batch(records: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(records), schema=RAW)


def drop(
    image_id: str | None, wnid: str | None, outcome: str, detail: str | None = None, count: int = 1
) -> dict[str, Any]:
    return {"image_id": image_id, "wnid": wnid, "outcome": outcome, "detail": detail, "count": count}


class FakeSource(RawSource):
    """A source in memory."""

    def __init__(
        self, records: Sequence[dict[str, Any]], drops: Sequence[dict[str, Any]] = (), rows_a_batch: int = 3
    ) -> None:
        super().__init__([])
        self._records, self._rows = records, rows_a_batch
        self.drops = [pa.RecordBatch.from_pylist(list(drops), schema=OUTCOMES)]
        self.inputs = {"fake": "00"}

    def batches(self) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self._records), self._rows):
            yield batch(self._records[start : start + self._rows])
