"""What the tests of the crawl share: a matches file, a clock that stands still, a client that answers from a script."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_captions import schema as records
from imagenet_captions.crawler.client import Credentials, FlickrClient
from imagenet_captions.crawler.crawl import CrawlSettings, Tools
from imagenet_captions.crawler.policy import Attempt
from imagenet_captions.outcomes import OUTCOMES, outcomes_path

KEY, SECRET = "5ec2e7c0ffee5ec2e7c0ffee5ec2e7c0", "ba5eba11ba5eba11"


def write_matches(folder: Path, photo_ids: Sequence[str], drops: Sequence[tuple[str, str]] = ()) -> Path:
    """A matches file with one image a photo id, repeated ids included, and the outcomes beside it."""
    path, count = folder / "matches.parquet", len(photo_ids)
    ids = [f"n01440764_{number}" for number in range(count)]
    urls = [f"http://farm1.static.flickr.com/1/{photo_id}_0.jpg" for photo_id in photo_ids]
    columns = [ids, ["n01440764"] * count, list(photo_ids), urls, [None] * count]
    pq.write_table(pa.table(columns, schema=records.MATCHES), path)
    dropped = [{"image_id": each, "wnid": each[:9], "outcome": outcome, "count": 1} for each, outcome in drops]
    pq.write_table(pa.Table.from_pylist(dropped, OUTCOMES), outcomes_path(path))
    return path


def ok(photo_id: str, **fields: Any) -> dict[str, Any]:
    """An answer about a photo, with as little in it as Flickr ever gives."""
    return {
        "photo": {"id": photo_id, "title": {"_content": f"photo {photo_id}"}, "media": "photo", **fields},
        "stat": "ok",
    }


def attempt(answer: dict[str, Any]) -> Attempt:
    """The attempt that brings an answer."""
    return Attempt(status=200, body=json.dumps(answer).encode())


def real_tools(timeout: float = 2.0, skip_waits: bool = False) -> Tools:
    """The real world, with a known key and little patience for hanging servers.

    With `skip_waits` the clocks jump instead of waiting, so that growing waits cost a test nothing.
    """
    skipped = [0.0]

    def connect(settings: CrawlSettings) -> FlickrClient:
        return FlickrClient(Credentials(KEY, SECRET), str(settings.endpoint), (timeout, timeout))

    def sleep(seconds: float) -> None:
        if skip_waits:
            skipped[0] += seconds
        else:
            time.sleep(seconds)

    return Tools(connect, lambda: time.monotonic() + skipped[0], lambda: time.time() + skipped[0], sleep)


class World:
    """A clock that moves only when someone sleeps or a call takes its time, and a service made of a function."""

    def __init__(self, respond: Callable[[str], Attempt], call_seconds: float = 0.1) -> None:
        self.now = 1000.0
        self.wall_offset = 1_700_000_000.0
        self.respond = respond
        self.call_seconds = call_seconds
        self.calls: list[tuple[float, str]] = []

    def tools(self) -> Tools:
        """The tools of a crawl in this world."""
        return Tools(
            connect=lambda settings: self,
            clock=lambda: self.now,
            wall=lambda: self.now + self.wall_offset,
            sleep=self.sleep,
            chance=lambda: 0.5,
        )

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        assert 0 < seconds < 10
        self.now += seconds

    def get_info(self, photo_id: str) -> Attempt:
        """Answer a call."""
        self.calls.append((self.now, photo_id))
        self.now += self.call_seconds
        return self.respond(photo_id)

    def close(self) -> None:
        """Nothing to let go of."""


def most_in_a_window(times: Sequence[float], seconds: float, grace: float = 0.05) -> int:
    """The largest number of moments in any window of that length, less the grace."""
    ordered = sorted(times)
    return max(sum(1 for later in ordered if start <= later < start + seconds - grace) for start in ordered)
