"""Record what a crawl does: answers in the store, counts in the report, progress on screen or in the log."""

from __future__ import annotations

import logging

from imagenet_captions.crawler.crawl_settings import CrawlReport, Tools
from imagenet_captions.crawler.limits import SECONDS_A_LINE
from imagenet_captions.crawler.policy import Failures, State
from imagenet_captions.crawler.store import Store
from imagenet_captions.storage.progress import Bar

log = logging.getLogger(__name__)


class Recorder:
    """Records each call of a run and its result, and counts the failures since the last success."""

    def __init__(self, store: Store, report: CrawlReport, bar: Bar, tools: Tools) -> None:
        self.report = report
        self._store, self._bar, self._tools = store, bar, tools
        self._failures: dict[str, int] = {}  # of photos to be asked for again, in this run
        self._in_a_row = 0
        self._pauses = 0
        self._shown = tools.clock()

    def failures_before(self, photo_id: str, ever: bool) -> Failures:
        """Return what failed before the latest attempt; with `ever` the earlier runs are looked up too."""
        before = self._store.failures(photo_id) if ever else 0
        return Failures(self._failures.get(photo_id, 0), before, self._in_a_row, self._pauses)

    def call(self, late: float | None) -> None:
        """Record a call before it is sent, so that a run that is killed and started again keeps to the pace too.

        `late` is how many seconds have passed since the call's turn; None without a pace to keep.
        """
        if late is not None:
            self._store.save_call(self._tools.wall() - late)
        self.report.calls += 1

    def keep(self, photo_id: str, state: State, body: bytes) -> None:
        """Record a final answer."""
        self._store.save_answer(photo_id, state, body, int(self._tools.wall()))
        self._in_a_row = self._pauses = 0
        self._failures.pop(photo_id, None)
        self.report.left -= 1
        self.report.found += state is State.OK
        self.report.not_found += state is State.NOT_FOUND
        self.report.private += state is State.PRIVATE
        self._show()

    def fail(self, photo_id: str, reason: str, counts: bool) -> None:
        """Record a failed attempt, after which the photo is asked for again; `counts` if it may be the host's fault."""
        self._store.save_failure(photo_id, State.WAITING, reason)
        self._in_a_row += counts
        self._failures[photo_id] = self._failures.get(photo_id, 0) + 1

    def set_aside(self, photo_id: str, reason: str, counts: bool) -> None:
        """Record a failed attempt, after which the run goes on without the photo."""
        self._store.save_failure(photo_id, State.UNREACHABLE, reason)
        self._in_a_row += counts
        self._failures.pop(photo_id, None)
        self.report.unreachable += 1
        self._bar.update()

    def pause(self, seconds: float) -> None:
        """Record that the host is left alone for some seconds."""
        self._in_a_row += 1
        self._pauses += 1
        self._store.save_pause(self._tools.wall() + seconds)
        log.info("crawl: the host is busy, going on in %.0f seconds", seconds)

    def _show(self) -> None:
        """Move the bar; where there is none, as in a log file, log a line from time to time."""
        report, gone = self.report, self.report.not_found + self.report.private
        if not self._bar.disable:
            self._bar.set_postfix_str(f"{report.found} found, {gone} gone", refresh=False)
        elif self._tools.clock() - self._shown >= SECONDS_A_LINE:
            self._shown = self._tools.clock()
            log.info("crawl: %d found, %d gone, %d left", report.found, gone, report.left)
        self._bar.update()
