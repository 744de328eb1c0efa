"""The loop of a crawl: send when pace, pause and waits allow, keep each answer, until nothing is left to ask.

It is the thin shell around `policy` and `pace`. One call is under way at a time as long as answers come faster than
the pace; where they take longer, several are. Each call has a thread of its own, and the loop gives up a call that
takes too long: a client that hangs (a name server that does not answer) stops neither the crawl nor its end. Only the
loop's thread uses the store.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from itertools import count
from threading import Thread

from imagenet_captions.crawler import policy
from imagenet_captions.crawler.crawl_settings import Client, CrawlReport, CrawlSettings, Tools
from imagenet_captions.crawler.policy import Answer, Attempt, Failures, Meaning, State, StopRun
from imagenet_captions.crawler.schedule import Pace
from imagenet_captions.crawler.store import Store
from imagenet_captions.engines.interrupts import Interrupts
from imagenet_captions.storage.progress import Bar

log = logging.getLogger(__name__)

CALLS_AT_ONCE = 16

# Threads pay off only where answers take their time: on loopback, where the work of this process takes the time, eight
# are slower than one, and one is slower than none.
_SHORTEST_SPACING = 0.01

_SECONDS_A_LINE = 600

# A client keeps to the same deadline by itself, and says more about it.
_GRACE = 1.0

# A wait is cut into pieces of this length, to see an interrupt in time.
_LONGEST_NAP = 0.2


@dataclass
class Asking:
    """One run over photos that need an answer."""

    client: Client
    store: Store
    settings: CrawlSettings
    tools: Tools
    interrupts: Interrupts
    bar: Bar
    report: CrawlReport
    stop: StopRun | None = None  # why the run ended before its work did
    _waiting: list[tuple[float, int, str]] = field(default_factory=list)  # heap: when to ask again, number, photo
    _number: Iterator[int] = field(default_factory=count)
    _failures: dict[str, int] = field(default_factory=dict)  # of the waiting photos, in this run
    _under_way: dict[Future[Attempt], tuple[str, float]] = field(default_factory=dict)  # photo, moment of sending
    _in_a_row: int = 0
    _pauses: int = 0
    _pause_until: float = 0.0
    _paused_at: float = float("-inf")
    _latency: float = 0.0  # how long an answer takes: follows longer ones at once, shorter ones slowly

    _shown: float = 0.0

    def __post_init__(self) -> None:
        """Go on with the pace and the pause of an earlier run."""
        self._retry = self.settings.retry
        now, wall = self.tools.clock(), self.tools.wall()
        self._shown = now
        last_call, pause_until = self.store.moments()
        self._pace = Pace(self.settings.calls_a_second, now, None if last_call is None else wall - last_call)
        self._latency = self._pace.interval / 2  # a guess at which the first answer does not hold up the second call
        # The clock may have been set back since: no pause is longer than the longest one that is believed.
        paused = 0.0 if pause_until is None else min(pause_until - wall, self._retry.longest_retry_after)
        self._pause_until = now + max(paused, 0.0)

    def run(self, photos: Iterator[str]) -> None:
        """Ask for the photos; return when each has its answer or is set aside, or when the run has to stop."""
        self._fresh, self._next = photos, next(photos, None)
        while not (self.stop or self.interrupts.wanted):
            now = self.tools.clock()
            moment = self._moment(now)
            if moment is None and not self._under_way:
                return
            if moment is not None and moment <= now and len(self._under_way) < self._at_once():
                self._send(now)
            else:
                self._wait(now, moment)
        while self._under_way and not self.interrupts.leaving:
            self._collect(_LONGEST_NAP)

    def _moment(self, now: float) -> float | None:
        """The moment at which the next call may go out; None if no photo needs one."""
        if self._next is not None:
            ready = now
        elif self._waiting:
            ready = self._waiting[0][0]
        else:
            return None
        return max(ready, self._pace.next_call, self._pause_until)

    def _at_once(self) -> int:
        spacings = self._latency / max(self._pace.interval, _SHORTEST_SPACING)
        return 1 if spacings < 0.5 else min(int(spacings) + 2, CALLS_AT_ONCE)

    def _send(self, now: float) -> None:
        photo_id = self._take(now)
        self._pace.take(now)
        if self._pace.interval:
            # Kept before the call goes out: a run that is killed and started again keeps to the pace too.
            self.store.save_call(self.tools.wall() + self._pace.next_call - self._pace.interval - now)
        self.report.calls += 1
        if self._pace.interval < _SHORTEST_SPACING and self._at_once() == 1:
            self._handle(photo_id, now, self.client.get_info(photo_id))
        else:
            self._under_way[self._start(photo_id)] = photo_id, now

    def _start(self, photo_id: str) -> Future[Attempt]:
        """Ask in a thread that does not keep the program from ending."""
        future: Future[Attempt] = Future()

        def ask() -> None:
            try:
                future.set_result(self.client.get_info(photo_id))
            except BaseException as error:  # noqa: BLE001  # raised again where the answer is collected
                future.set_exception(error)

        Thread(target=ask, name="flickr", daemon=True).start()
        return future

    def _take(self, now: float) -> str:
        """The photo whose turn it is: one that has waited long enough, else a fresh one."""
        if self._waiting and (self._waiting[0][0] <= now or self._next is None):
            return heapq.heappop(self._waiting)[2]
        photo_id, self._next = self._next, next(self._fresh, None)
        self.report.asked += 1
        return str(photo_id)

    def _wait(self, now: float, moment: float | None) -> None:
        full = moment is None or len(self._under_way) >= self._at_once()
        nap = _LONGEST_NAP if full or moment is None else min(moment - now, _LONGEST_NAP)
        if self._under_way:
            self._collect(nap)
        else:
            self.tools.sleep(nap)

    def _collect(self, seconds: float) -> None:
        """Handle the answers that have arrived, waiting for the first one, and give up those that are overdue."""
        for future in wait(self._under_way, seconds, FIRST_COMPLETED).done:
            photo_id, sent = self._under_way.pop(future)
            self._handle(photo_id, sent, future.result())
        longest = self.settings.call_seconds
        overdue = self.tools.clock() - longest - _GRACE
        for future, (photo_id, sent) in list(self._under_way.items()):
            if sent < overdue:
                del self._under_way[future]
                self._handle(photo_id, sent, Attempt(failure=f"no answer within {longest:g} seconds"))

    def _handle(self, photo_id: str, sent: float, attempt: Attempt) -> None:
        """Do what the policy says about an attempt."""
        now = self.tools.clock()
        took = now - sent
        self._latency = max(took, self._latency + (took - self._latency) * 0.1)
        answer = policy.read_answer(photo_id, attempt)
        failures = self._failures_before(photo_id, answer)
        decision = policy.decide(answer, failures, self._retry, self.tools.wall(), self.tools.chance())
        if isinstance(decision, policy.Final):
            self._keep(photo_id, decision.state, attempt)
            return
        if answer.meaning is Meaning.UNUSABLE:
            aside = isinstance(decision, policy.SetAside)
            self.store.save_failure(photo_id, State.UNREACHABLE if aside else State.WAITING, answer.reason)
            # A photo that failed all its tries in earlier runs tells nothing about the host.
            self._in_a_row += failures.photo_ever < self._retry.tries
        if isinstance(decision, policy.RetryAfter):
            self._failures[photo_id] = failures.photo_in_run + 1
            heapq.heappush(self._waiting, (now + decision.seconds, next(self._number), photo_id))
        elif isinstance(decision, policy.PauseHost):
            self._pause(photo_id, sent, now, decision.seconds)
        elif isinstance(decision, policy.SetAside):
            self._failures.pop(photo_id, None)
            self.report.unreachable += 1
            self.bar.update()
        elif self.stop is None:
            self.stop = decision

    def _failures_before(self, photo_id: str, answer: Answer) -> Failures:
        ever = self.store.failures(photo_id) if answer.meaning is Meaning.UNUSABLE else 0
        return Failures(self._failures.get(photo_id, 0), ever, self._in_a_row, self._pauses)

    def _keep(self, photo_id: str, state: State, attempt: Attempt) -> None:
        self.store.save_answer(photo_id, state, attempt.body, int(self.tools.wall()))
        self._in_a_row = self._pauses = 0
        self._failures.pop(photo_id, None)
        report = self.report
        report.left -= 1
        report.found += state is State.OK
        report.not_found += state is State.NOT_FOUND
        report.private += state is State.PRIVATE
        self._show()

    def _show(self) -> None:
        """Move the bar on; where there is none, as in a log file, say a line from time to time."""
        report = self.report
        if not self.bar.disable:
            self.bar.set_postfix_str(f"{report.found} found, {report.not_found + report.private} gone", refresh=False)
        elif self.tools.clock() - self._shown >= _SECONDS_A_LINE:
            self._shown = self.tools.clock()
            gone = report.not_found + report.private
            log.info("crawl: %d found, %d gone, %d left", report.found, gone, report.left)
        self.bar.update()

    def _pause(self, photo_id: str, sent: float, now: float, seconds: float) -> None:
        """Leave the host alone; calls that were under way when a pause began do not make it longer."""
        heapq.heappush(self._waiting, (now, next(self._number), photo_id))
        if sent < self._paused_at:
            return
        self._in_a_row += 1
        self._pauses += 1
        self._paused_at, self._pause_until = now, now + seconds
        self.store.save_pause(self.tools.wall() + seconds)
        log.info("crawl: the host is busy, going on in %.0f seconds", seconds)
