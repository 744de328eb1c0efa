"""Crawls against the stand-in for Flickr, with faults of all kinds and clocks that jump."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from counting import Chunk

from imagenet_captions.crawler.client import Credentials, FlickrClient
from imagenet_captions.crawler.crawl import CrawlReport, CrawlSettings, Tools, crawl
from imagenet_captions.crawler.policy import FINAL_STATES, Attempt, read_answer
from imagenet_captions.crawler.store import StoreReader
from imagenet_captions.demo.flickr_stand_in import FAULTS, FlickrStandIn, StandInSettings, synthetic_answer
from imagenet_captions.errors import StoppedEarly
from imagenet_captions.outcomes import OUTCOMES, outcomes_path
from imagenet_captions.schema import MATCHES

_PHOTOS = 300  # a chunk
_RUNS = 200  # at most, until every photo has its final answer
_RATES = (5, 20, 50)  # a second, of about 560 calls a chunk
_LATE = 2  # calls of a second that threads may bring late into the next
_SETTLED, _GROWTH_MB = 20, 64  # chunks after which a process has its size, and what it may grow from there
_MEMORY: list[int] = []  # of this process, after each chunk
_STATES = {"ok": "ok", 1: "not_found", 2: "private"}


@dataclass
class _World:
    """Real calls, and clocks that run ahead where a crawl would wait; the wall clock also jumps."""

    rng: random.Random
    skipped: float = 0.0
    jump: float = 0.0
    sent: list[float] = field(default_factory=list)
    answered: Counter[str] = field(default_factory=Counter)  # final answers that arrived, by photo

    def tools(self) -> Tools:
        return Tools(self._connect, self.clock, self._wall, self._sleep, self.rng.random)

    def clock(self) -> float:
        return time.monotonic() + self.skipped

    def _wall(self) -> float:
        if self.rng.random() < 0.001:
            self.jump = self.rng.choice([0.0, -86_400.0, 86_400.0, 3_600.0, -30.0])
        return time.time() + self.skipped + self.jump

    def _sleep(self, seconds: float) -> None:
        self.skipped += seconds

    def _connect(self, settings: CrawlSettings) -> _Counted:
        client = FlickrClient(Credentials("a" * 32, "b" * 16), str(settings.endpoint), (5.0, 0.2), seconds=5.0)
        return _Counted(client, self)


@dataclass(frozen=True)
class _Counted:
    """A client that notes when each call is sent, and which photos are answered."""

    client: FlickrClient
    world: _World

    def get_info(self, photo_id: str) -> Attempt:
        self.world.sent.append(self.world.clock())
        attempt = self.client.get_info(photo_id)
        self.world.answered[photo_id] += read_answer(photo_id, attempt).state in FINAL_STATES
        return attempt

    def close(self) -> None:
        self.client.close()


def chunk(rng: random.Random, scratch: Path) -> Chunk:
    """Crawl some photos to the end, in as many runs as it takes."""
    first = rng.randrange(10**6, 10**10)
    ids = [str(first + number) for number in range(_PHOTOS)]
    rate = rng.choice(_RATES)
    faults = rng.sample(FAULTS, rng.randrange(3, len(FAULTS) + 1))
    settings = StandInSettings(
        faults=faults,
        fault_rate=rng.uniform(0.3, 0.6),
        retry_after=rng.choice([None, "1", "30", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"]),
        seed=rng.randrange(10**6),
        synthetic=True,
        hang_seconds=0.25,
    )
    world = _World(rng)
    _write_matches(scratch / "matches.parquet", ids)
    with FlickrStandIn({}, settings) as flickr:
        wanted = CrawlSettings(rate=f"{rate}/s", endpoint=flickr.endpoint, tries=rng.choice([2, 4, 8]))
        runs = _crawl_to_the_end(scratch, wanted, world)
        calls = len(flickr.requests)
    losses = _wrong_states(scratch / "store.sqlite", ids)
    losses += [
        f"{photo_id} was asked again after its answer" for photo_id, count in world.answered.items() if count > 1
    ]
    busiest = _busiest_second(world.sent)
    if busiest > rate + _LATE:
        losses.append(f"{busiest} calls in a second at a rate of {rate}")
    if runs == _RUNS:
        losses.append(f"not at the end after {runs} runs with {faults}")
    for file in scratch.iterdir():
        file.unlink()
    _MEMORY.append(_resident_mb())
    if len(_MEMORY) > _SETTLED and _MEMORY[-1] > _MEMORY[_SETTLED] + _GROWTH_MB:
        losses.append(f"{_MEMORY[-1]} MB of memory, {_MEMORY[_SETTLED]} MB {len(_MEMORY) - _SETTLED} chunks before")
    notes = {"photos": len(ids), "runs": runs, "most memory in MB": _MEMORY[-1]}
    return Chunk(calls, losses, notes | {f"at {rate} a second": calls, "most calls too early": max(0, busiest - rate)})


def _crawl_to_the_end(scratch: Path, settings: CrawlSettings, world: _World) -> int:
    for run in range(1, _RUNS + 1):
        report = CrawlReport(left=1)
        try:
            report = crawl(scratch / "matches.parquet", scratch / "store.sqlite", settings, world.tools())
        except StoppedEarly:
            world.skipped += 3_600.0
        if not report.left:
            return run
    return _RUNS


def _write_matches(path: Path, ids: list[str]) -> None:
    rows = [
        {"image_id": f"n01440764_{number}", "wnid": "n01440764", "photo_id": photo_id, "url": "", "detail": None}
        for number, photo_id in enumerate(ids)
    ]
    pq.write_table(pa.Table.from_pylist(rows, MATCHES), path)
    pq.write_table(OUTCOMES.empty_table(), outcomes_path(path))


def _wrong_states(store: Path, ids: list[str]) -> list[str]:
    with StoreReader(store) as reader:
        found = {photo_id: stored.state.value for photo_id, stored in reader.answers()}
    losses = []
    for photo_id in ids:
        answer = synthetic_answer(photo_id)
        expected = _STATES[answer.get("code", "ok")]
        if found.get(photo_id) != expected:
            losses.append(f"{photo_id} is {found.get(photo_id)}, not {expected}")
    return losses


def _busiest_second(sent: list[float]) -> int:
    times = np.sort(np.array(sent))
    return int((np.searchsorted(times, times + 1.0) - np.arange(len(times))).max(initial=0))


def _resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20
