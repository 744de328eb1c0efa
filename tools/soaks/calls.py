"""Crawls against the stand-in for Flickr, with faults of all kinds and clocks that jump."""

from __future__ import annotations

import random
import resource
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_captions.crawler.client import Credentials, FlickrClient
from imagenet_captions.crawler.crawl import CrawlReport, CrawlSettings, Tools, crawl
from imagenet_captions.crawler.policy import FINAL_STATES, Attempt, read_answer
from imagenet_captions.crawler.store import read_store
from imagenet_captions.demo.flickr_stand_in import FAULTS, FlickrStandIn, StandInSettings, synthetic_answer
from imagenet_captions.errors import StoppedEarly
from imagenet_captions.schema import MATCHES

_PHOTOS = 300  # a chunk
_RUNS = 200  # at most, until every photo has its final answer
_LATE = 2  # calls of a second that may come late into the next
_SETTLED, _GROWTH_MB = 20, 64  # chunks after which a process has its size, and what it may grow from there
_MEMORY: list[int] = []  # of this process, after each chunk
_STATES = {"ok": "ok", 1: "not_found", 2: "private"}


@dataclass
class _World:
    """Real calls, and clocks that run ahead where a crawl would wait; the wall clock also jumps."""

    rng: random.Random
    endpoint: str
    skipped: float = 0.0
    jump: float = 0.0
    sent: list[float] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)  # final answers that arrived, by photo

    def clock(self) -> float:
        return time.monotonic() + self.skipped

    def wall(self) -> float:
        if self.rng.random() < 0.001:
            self.jump = self.rng.choice([0.0, -86_400.0, 86_400.0, 3_600.0, -30.0])
        return time.time() + self.skipped + self.jump

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds

    def connect(self, settings: CrawlSettings) -> _Counted:
        return _Counted(FlickrClient(Credentials("a" * 32, "b" * 16), self.endpoint, (5.0, 0.2), seconds=5.0), self)


@dataclass(frozen=True)
class _Counted:
    """A client that notes when each call is sent, and which photos are answered."""

    client: FlickrClient
    world: _World

    def get_info(self, photo_id: str) -> Attempt:
        self.world.sent.append(self.world.clock())
        attempt = self.client.get_info(photo_id)
        self.world.answered[photo_id] += read_answer(photo_id, attempt, 0.0).state in FINAL_STATES
        return attempt

    def close(self) -> None:
        self.client.close()


def chunk(rng: random.Random, scratch: Path) -> tuple[int, list[str]]:
    """Crawl some photos to the end, in as many runs as it takes."""
    first, rate = rng.randrange(10**6, 10**10), rng.choice((5, 20, 50))
    ids = [str(first + number) for number in range(_PHOTOS)]
    rows = [{"image_id": f"n01440764_{number}", "wnid": "n01440764", "photo_id": each, "url": ""}
            for number, each in enumerate(ids)]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, MATCHES), scratch / "matches.parquet")
    settings = StandInSettings(
        faults=rng.sample(FAULTS, rng.randrange(3, len(FAULTS) + 1)),
        fault_rate=rng.uniform(0.3, 0.6),
        retry_after=rng.choice([None, "1", "30", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"]),
        seed=rng.randrange(10**6),
        synthetic=True,
        hang_seconds=0.25,
    )
    with FlickrStandIn({}, settings) as flickr:
        world = _World(rng, flickr.endpoint)
        wanted = CrawlSettings(rate=f"{rate}/s", endpoint=flickr.endpoint, tries=rng.choice([2, 4, 8]))
        ended = _crawl_to_the_end(scratch, wanted, world)
        calls = len(flickr.requests)
    losses = [] if ended else [f"not at the end after {_RUNS} runs with {settings.faults}"]
    with read_store(scratch / "store.sqlite") as reader:
        found = {photo_id: stored.state.value for photo_id, stored in reader.photos()}
    expected = {photo_id: _STATES[synthetic_answer(photo_id).get("code", "ok")] for photo_id in ids}
    losses += [
        f"{each} is {found.get(each)}, not {state}" for each, state in expected.items() if found.get(each) != state
    ]
    losses += [f"{each} was asked again after its answer" for each, count in world.answered.items() if count > 1]
    times = np.sort(np.array(world.sent))
    busiest = int((np.searchsorted(times, times + 1.0) - np.arange(len(times))).max(initial=0))
    if busiest > rate + _LATE:
        losses.append(f"{busiest} calls in a second at a rate of {rate}")
    _MEMORY.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
    if len(_MEMORY) > _SETTLED and _MEMORY[-1] > _MEMORY[_SETTLED] + _GROWTH_MB:
        losses.append(f"{_MEMORY[-1]} MB of memory, {_MEMORY[_SETTLED]} MB {len(_MEMORY) - _SETTLED} chunks before")
    return calls, losses


def _crawl_to_the_end(scratch: Path, settings: CrawlSettings, world: _World) -> bool:
    tools = Tools(world.connect, world.clock, world.wall, world.sleep, world.rng.random)
    for _ in range(_RUNS):
        report = CrawlReport(left=1)
        try:
            report = crawl(scratch / "matches.parquet", scratch / "store.sqlite", settings, tools)
        except StoppedEarly:
            world.skipped += 3_600.0
        if not report.left:
            return True
    return False
