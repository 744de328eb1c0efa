"""The loop of a crawl: send calls when the schedule allows, and act on each answer, until no photo is left.

It is the thin shell around `policy`, which decides what an answer leads to, `schedule` and `recorder`. Each call has a
thread of its own, and the loop gives up a call that takes too long: a client that hangs (on a name server that does not
answer) stops neither the crawl nor its end. Only the loop's thread uses the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from threading import Thread

from imagenet_captions.crawler import policy
from imagenet_captions.crawler.crawl_settings import Client, Tools
from imagenet_captions.crawler.limits import GRACE_SECONDS, LONGEST_NAP, SHORTEST_SPACING
from imagenet_captions.crawler.policy import Attempt, Meaning, StopRun
from imagenet_captions.crawler.recorder import Recorder
from imagenet_captions.crawler.schedule import Pace, Schedule
from imagenet_captions.crawler.settings import CrawlSettings
from imagenet_captions.crawler.store import Store
from imagenet_captions.engines.interrupts import Interrupts


class CrawlLoop:
    """One run over photos that need an answer; `stop` says why it ended early."""

    def __init__(
        self, client: Client, settings: CrawlSettings, tools: Tools, schedule: Schedule, recorder: Recorder
    ) -> None:
        self.stop: StopRun | None = None
        self._client, self._settings, self._tools = client, settings, tools
        self._schedule, self._recorder = schedule, recorder
        self._under_way: dict[Future[Attempt], tuple[str, float]] = {}  # photo, time of sending

    def run(self, interrupts: Interrupts) -> None:
        """Return when each photo has its answer or is set aside, or when the run has to stop."""
        while not (self.stop or interrupts.wanted):
            now = self._tools.clock()
            time = self._schedule.next_call(now)
            if time is None and not self._under_way:
                return
            free = len(self._under_way) < self._schedule.calls_at_once()
            if time is not None and time <= now and free:
                self._send(now)
            else:
                self._wait(LONGEST_NAP if time is None or not free else min(time - now, LONGEST_NAP))
        while self._under_way and not interrupts.leaving:
            self._collect(LONGEST_NAP)

    def _send(self, now: float) -> None:
        photo_id, pace = self._schedule.take(now), self._schedule.pace
        self._recorder.report.asked = self._schedule.taken
        self._recorder.call(now - (pace.next_call - pace.interval) if pace.interval else None)
        if pace.interval < SHORTEST_SPACING and self._schedule.calls_at_once() == 1:
            self._handle(photo_id, now, self._client.get_info(photo_id))
        else:
            self._under_way[self._start(photo_id)] = photo_id, now

    def _start(self, photo_id: str) -> Future[Attempt]:
        """Ask in a thread that does not keep the program from ending."""
        future: Future[Attempt] = Future()

        def ask() -> None:
            try:
                future.set_result(self._client.get_info(photo_id))
            except BaseException as error:  # noqa: BLE001  # raised again where the answer is collected
                future.set_exception(error)

        Thread(target=ask, name="flickr", daemon=True).start()
        return future

    def _wait(self, seconds: float) -> None:
        if self._under_way:
            self._collect(seconds)
        else:
            self._tools.sleep(seconds)

    def _collect(self, seconds: float) -> None:
        """Wait for the first answer, handle those that have arrived, and give up overdue calls."""
        for future in wait(self._under_way, seconds, FIRST_COMPLETED).done:
            photo_id, sent = self._under_way.pop(future)
            self._handle(photo_id, sent, future.result())
        longest = self._settings.call_seconds
        overdue = self._tools.clock() - longest - GRACE_SECONDS
        for future, (photo_id, sent) in list(self._under_way.items()):
            if sent < overdue:
                del self._under_way[future]
                self._handle(photo_id, sent, Attempt(failure=f"no answer within {longest:g} seconds"))

    def _handle(self, photo_id: str, sent: float, attempt: Attempt) -> None:
        """Do what the policy decides about an attempt."""
        now, retry = self._tools.clock(), self._settings.retry
        self._schedule.answered(now - sent)
        answer = policy.read_answer(photo_id, attempt)
        failures = self._recorder.failures_before(photo_id, ever=answer.meaning is Meaning.UNUSABLE)
        decision = policy.decide(answer, failures, retry, self._tools.wall(), self._tools.chance())
        counts = failures.photo_ever < retry.tries  # what failed in all earlier runs says nothing about the host
        if isinstance(decision, policy.Final):
            self._recorder.keep(photo_id, decision.state, attempt.body)
        elif isinstance(decision, policy.SetAside):
            self._recorder.set_aside(photo_id, answer.reason, counts)
        elif isinstance(decision, policy.PauseHost):
            self._schedule.ask_again(photo_id, now)
            if self._schedule.pause(sent, now, decision.seconds):
                self._recorder.pause(decision.seconds)
        else:
            if answer.meaning is Meaning.UNUSABLE:
                self._recorder.fail(photo_id, answer.reason, counts)
            if isinstance(decision, policy.RetryAfter):
                self._schedule.ask_again(photo_id, now + decision.seconds)
            else:
                self.stop = self.stop or decision


def schedule_of(photos: Iterator[str], store: Store, settings: CrawlSettings, tools: Tools) -> Schedule:
    """Return the schedule of a run, which keeps to the pace and the pause that an earlier run left in the store."""
    now, wall = tools.clock(), tools.wall()
    last_call, pause_until = store.moments()
    pace = Pace(settings.calls_a_second, now, None if last_call is None else wall - last_call)
    # The clock may have been set back since: no pause is longer than the longest one that is believed.
    paused = 0.0 if pause_until is None else min(pause_until - wall, settings.retry.longest_retry_after)
    return Schedule(photos, pace, now + max(paused, 0.0))
