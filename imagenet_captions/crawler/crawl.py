"""Ask Flickr for every matched photo, for days if necessary, and keep each answer as it arrives.

One call at a time: take the next photo, wait for its turn, ask through `client`, decide by `policy`, save in `store`.
"""

from __future__ import annotations

import heapq
import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.crawler import policy
from imagenet_captions.crawler.policy import FINAL_STATES, Attempt, Failures, State, Verdict
from imagenet_captions.crawler.settings import FLICKR_ENDPOINT, CrawlSettings
from imagenet_captions.crawler.source import parse_photo
from imagenet_captions.crawler.store import Store, local_store, open_store
from imagenet_captions.engines.local import Interrupts
from imagenet_captions.errors import InputError, StoppedEarly
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.sources.matches import open_matches
from imagenet_captions.storage.outputs import check_place
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import Bar, progress

if TYPE_CHECKING:
    from imagenet_captions.crawler.client import FlickrClient

__all__ = ["CrawlReport", "CrawlSettings", "Tools", "crawl"]

log = logging.getLogger(__name__)

# Seconds.
_LONGEST_NAP = 0.2  # longer waits are cut into naps, to see an interrupt in time
# How late a call may be without moving the later ones. Without it the oversleeping of every wait would add up and use
# less than the pace; with it two calls can come closer to each other by this much.
_SLACK = 0.02


@dataclass(frozen=True)
class Tools:
    """The client, clocks, sleep and random numbers of a crawl; tests pass their own."""

    connect: Callable[[CrawlSettings], FlickrClient]
    clock: Callable[[], float] = time.monotonic  # never jumps
    wall: Callable[[], float] = time.time  # may be set back and forth
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random


@dataclass
class CrawlReport:
    """The counts of one run, in photos."""

    asked: int = 0
    found: int = 0
    not_found: int = 0
    private: int = 0
    unreachable: int = 0  # set aside; the next run asks again
    left: int = 0  # without a final answer yet, those set aside included
    calls: int = 0


def crawl(
    matches: Place,
    store: Place,
    settings: CrawlSettings,
    tools: Tools | None = None,
    elsewhere: pa.Array | None = None,
) -> CrawlReport:
    """Ask for every photo of `matches` that `store` has no final answer for, and return the counts.

    Photos in `elsewhere` are known from another source and are not asked for.

    Raises InputError for a wrong key or other wrong input, StoppedEarly if too many calls failed in a row, and
    KeyboardInterrupt when interrupted. The answers so far are kept, and the same call continues from there.
    """
    check_place(local_store(store), [matches])
    tools = tools or Tools(_connect)
    with open_matches(matches) as opened:
        columns = ["image_id", "photo_id", "url"] if settings.deny else ["photo_id"]
        wanted, _ = settings.deny.drop(opened.read(columns=columns))
    client = None if store.exists() else tools.connect(settings)  # without a key no store is left behind
    report = CrawlReport()
    with open_store(store) as answers:
        older_than = None if settings.refresh_days is None else tools.wall() - settings.refresh_days * 86400
        photos = _photos_to_ask(pc.unique(wanted["photo_id"]), answers, settings.deny, older_than, elsewhere)
        report.left = len(photos)
        photos = photos.slice(0, settings.limit)
        if len(photos):
            with (
                closing(client or tools.connect(settings)) as connected,
                Interrupts("the call") as interrupts,
                progress("crawl", len(photos), "photos") as bar,
            ):
                bar.smoothing = 0  # shows the pace of the whole run, waits included
                run = _Run(connected, answers, settings, tools, report, bar)
                end = run.ask_for((photo_id.as_py() for photo_id in photos), interrupts)
            done = report.found + report.not_found + report.private
            if end and end.state is State.REFUSED:
                raise InputError(
                    f"Flickr refuses the call ({end.reason}); check the key and the endpoint, nothing was marked"
                )
            if end:
                raise StoppedEarly(
                    f"the crawl stopped: {end.reason}; answers kept in this run: {done}, photos left: {report.left}; "
                    "run the same command again later to go on"
                )
            if interrupts.wanted:
                log.info("crawl: interrupted, answers kept in this run: %d; the same command goes on", done)
                raise KeyboardInterrupt(interrupts.number)
    log.info(
        "crawl: %d asked for: %d found, %d not found, %d private, %d unreachable; %d left",
        *(report.asked, report.found, report.not_found, report.private, report.unreachable, report.left),
    )
    return report


def _connect(settings: CrawlSettings) -> FlickrClient:
    from imagenet_captions.crawler.client import FlickrClient, read_credentials

    credentials = read_credentials(settings.key_file, os.environ)
    return FlickrClient(credentials, settings.endpoint or FLICKR_ENDPOINT)


def _photos_to_ask(
    wanted: pa.Array, store: Store, deny: Denylist, older_than: float | None, elsewhere: pa.Array | None
) -> pa.ChunkedArray:
    """Return the photos to ask for: new ones, then those with an old answer, then failures of earlier runs.

    `older_than` is a Unix time. Failures come last so that they do not delay the rest. Photos in `elsewhere` are left
    out, unless the store has an old answer about them: readers prefer the store to other sources. Before the first
    answer, a photo's owner is known only if its address names one.
    """
    answered, old, unreachable = [], [], []
    for photo_id, stored in store.photos():
        if stored.state in FINAL_STATES:
            answered.append(photo_id)
        elif stored.state is State.UNREACHABLE:
            unreachable.append(photo_id)
        if stored.photo is not None and older_than is not None and (stored.retrieved_at or 0) < older_than:
            record = parse_photo(photo_id, stored.photo)
            if not deny.denies_owner(record.owner, record.photo_page):
                old.append(photo_id)
    if elsewhere is not None:
        answered += elsewhere.to_pylist()
    lists = (answered, old, unreachable)
    known, is_old, failed = (pc.is_in(wanted, pa.array(photos, pa.string())) for photos in lists)
    parts = pc.invert(pc.or_(known, failed)), is_old, pc.and_not(failed, known)
    return pa.chunked_array([wanted.filter(part) for part in parts], pa.string())


class _Run:
    """The loop of a crawl, with its pace, and its failures since the last final answer."""

    def __init__(
        self, client: FlickrClient, store: Store, settings: CrawlSettings, tools: Tools, report: CrawlReport, bar: Bar
    ) -> None:
        self._client, self._store, self._settings, self._tools = client, store, settings, tools
        self._report, self._bar = report, bar
        # A heap of the photos to ask for again: when, in which order, which photo, and its failed calls in this run.
        self._waiting: list[tuple[float, int, str, int]] = []
        self._in_a_row = self._pauses = 0
        # The wall clock, by which an earlier run left its pace and its pause in the store, may have been set since: no
        # wait is longer than an interval, and no pause longer than the longest one that is believed.
        self._interval = 1.0 / settings.calls_a_second
        last_call, pause_until = store.moments()
        wait = 0.0 if last_call is None else self._interval - (tools.wall() - last_call)
        pause = 0.0 if pause_until is None else pause_until - tools.wall()
        self._next_call = tools.clock() + max(0.0, min(wait, self._interval), min(pause, policy.LONGEST_RETRY_AFTER))

    def ask_for(self, photos: Iterator[str], interrupts: Interrupts) -> Verdict | None:
        """Ask until each photo has its answer or is set aside; return the verdict that ended the run before."""
        end, fresh = None, next(photos, None)
        while not (end or interrupts.wanted) and (fresh is not None or self._waiting):
            now = self._tools.clock()
            # A photo that has waited long enough goes before a new one.
            again = bool(self._waiting) and (fresh is None or self._waiting[0][0] <= now)
            moment = max(self._next_call, self._waiting[0][0] if again else now)
            if moment > now:
                self._tools.sleep(min(moment - now, _LONGEST_NAP))
                self._bar.update(0)  # a line of the log every half minute, however long the wait
                continue
            if again:
                _, _, photo_id, failed = heapq.heappop(self._waiting)
            else:
                photo_id, failed, fresh = str(fresh), 0, next(photos, None)
                self._report.asked += 1
            turn = max(self._next_call, now - _SLACK)
            self._next_call = turn + self._interval
            if self._interval:  # saved before the call, so that a run that is killed keeps to the pace too
                self._store.save_call(self._tools.wall() - (now - turn))
            self._report.calls += 1
            end = self._act(photo_id, failed, self._client.get_info(photo_id))
        return end

    def _act(self, photo_id: str, failed: int, attempt: Attempt) -> Verdict | None:
        """Do what the policy decides about an attempt; return the verdict if it ends the run."""
        tries, wall = self._settings.tries, self._tools.wall
        answer = policy.read_answer(photo_id, attempt, wall())
        ever = self._store.failures(photo_id) if answer.state is State.WAITING else 0
        failures = Failures(failed, ever, self._in_a_row, self._pauses)
        decision = policy.decide(answer, failures, tries, self._tools.chance())
        state, now = decision.state, self._tools.clock()
        if answer.state is State.WAITING:
            left = state if state is State.UNREACHABLE else State.WAITING
            self._store.save_failure(photo_id, left, answer.reason)
            self._in_a_row += ever < tries  # what failed in all earlier runs says nothing about the host
        if state in FINAL_STATES:
            self._store.save_answer(photo_id, state, attempt.body, int(wall()))
            self._in_a_row = self._pauses = 0
            report = self._report
            report.left -= 1
            report.found += state is State.OK
            report.not_found += state is State.NOT_FOUND
            report.private += state is State.PRIVATE
            self._bar.set_postfix_str(f"{report.found} found, {report.not_found + report.private} gone", refresh=False)
            self._bar.update()
        elif state is State.UNREACHABLE:
            self._report.unreachable += 1
            self._bar.update()
        elif state is State.WAITING:
            moment = now + decision.seconds
            heapq.heappush(self._waiting, (moment, self._report.calls, photo_id, failed + 1))
        elif state is State.BUSY:
            heapq.heappush(self._waiting, (now, self._report.calls, photo_id, failed))
            self._next_call = max(self._next_call, now + decision.seconds)
            self._in_a_row += 1
            self._pauses += 1
            self._store.save_pause(wall() + decision.seconds)
            log.info("crawl: the host is busy, going on in %.0f seconds", decision.seconds)
        else:
            return decision
        return None
