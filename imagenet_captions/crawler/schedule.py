"""Which photo the crawl asks for next, and when. Used by `loop`, which says what time it is."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterator
from itertools import count

from imagenet_captions.crawler.limits import CALLS_AT_ONCE, SHORTEST_SPACING, SLACK
from imagenet_captions.errors import InputError, quoted

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def parse_rate(text: str) -> float:
    """Return the calls a second of N/s, N/min or N/h; infinity for `unlimited`.

    >>> parse_rate("3600/h"), parse_rate("60/min"), parse_rate("0.5/s"), parse_rate("unlimited")
    (1.0, 1.0, 0.5, inf)
    """
    if text.strip() == "unlimited":
        return math.inf
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*/\s*(s|min|h)\s*", text)
    if not found or float(found[1]) == 0:
        raise InputError(
            f"`rate` {quoted(text)} is not a rate; give a number above 0 per s, min or h, such as 3600/h or 20/s"
        )
    return float(found[1]) / _SECONDS[found[2]]


class Pace:
    """The pace of one run, on a clock that never jumps: calls are spaced evenly and never come in a burst.

    The store keeps the time of the last call by the wall clock, so that a restarted crawl keeps to the pace too:
    `since_last` is the number of seconds since then. It can have any value if that clock was set; the wait is at most
    one interval.

    >>> pace = Pace(2.0, now=100.0, since_last=None)
    >>> pace.next_call, pace.take(100.0), pace.next_call
    (100.0, None, 100.5)
    >>> Pace(2.0, now=100.0, since_last=-3600.0).next_call
    100.5
    """

    def __init__(self, rate: float, now: float, since_last: float | None) -> None:
        self.interval = 1.0 / rate
        wait = 0.0 if since_last is None else self.interval - since_last
        self.next_call = now + min(max(wait, 0.0), self.interval)

    def take(self, now: float) -> None:
        """Record a call at `now`, which must not be before `next_call`."""
        self.next_call = max(self.next_call, now - SLACK) + self.interval


class Schedule:
    """The photos of a run, each with the time at which it may be asked for.

    It has no clock: times are arguments. A photo that has waited long enough goes before a new one.

    >>> schedule = Schedule(iter(["7", "8"]), Pace(1.0, now=0.0, since_last=None))
    >>> schedule.take(0.0), schedule.next_call(0.0)
    ('7', 1.0)
    >>> schedule.ask_again("7", 30.0)
    >>> schedule.take(1.0), schedule.next_call(1.0), schedule.taken
    ('8', 30.0, 2)
    """

    def __init__(self, photos: Iterator[str], pace: Pace, pause_until: float = -math.inf) -> None:
        self.pace = pace
        self.taken = 0  # photos, each counted once
        self._photos, self._next = photos, next(photos, None)
        self._waiting: list[tuple[float, int, str]] = []  # heap: time, number that keeps the order, photo
        self._number = count()
        self._pause_until = pause_until
        self._paused_at = -math.inf
        # How long an answer takes. The first value is a guess at which the first answer does not delay the second call.
        self._latency = pace.interval / 2

    def next_call(self, now: float) -> float | None:
        """Return the time at which the next call may be sent; None if no photo is left or waits."""
        if self._next is not None:
            ready = now
        elif self._waiting:
            ready = self._waiting[0][0]
        else:
            return None
        return max(ready, self.pace.next_call, self._pause_until)

    def calls_at_once(self) -> int:
        """Return the number of calls that may be under way: more than one if answers take longer than the pace."""
        spacings = self._latency / max(self.pace.interval, SHORTEST_SPACING)
        return 1 if spacings < 0.5 else min(int(spacings) + 2, CALLS_AT_ONCE)

    def take(self, now: float) -> str:
        """Return the photo to ask for at `now`, which must not be before `next_call`."""
        self.pace.take(now)
        if self._waiting and (self._waiting[0][0] <= now or self._next is None):
            return heapq.heappop(self._waiting)[2]
        photo_id, self._next = self._next, next(self._photos, None)
        self.taken += 1
        return str(photo_id)

    def ask_again(self, photo_id: str, time: float) -> None:
        """Ask for a photo again, not before `time`."""
        heapq.heappush(self._waiting, (time, next(self._number), photo_id))

    def answered(self, seconds: float) -> None:
        """Record how long an answer took: a longer one counts at once, shorter ones slowly."""
        self._latency = max(seconds, self._latency + (seconds - self._latency) * 0.1)

    def pause(self, sent: float, now: float, seconds: float) -> bool:
        """Send nothing for some seconds; return False if the call was `sent` before a pause that is already known.

        Calls that were under way when a pause began do not make it longer.
        """
        if sent < self._paused_at:
            return False
        self._paused_at, self._pause_until = now, now + seconds
        return True
