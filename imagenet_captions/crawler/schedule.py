"""When the next call may be sent: calls spaced evenly, never a burst."""

from __future__ import annotations

import math
import re

from imagenet_captions.errors import InputError, quoted

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}

# How late a call may be without moving the later ones. Without it the oversleeping of every wait would add up and
# use less than the pace; with it two calls can come closer to each other by this much.
_SLACK = 0.02


def parse_rate(text: str) -> float:
    """Calls a second from N/s, N/min or N/h; infinite for `unlimited`.

    >>> parse_rate("3600/h"), parse_rate("60/min"), parse_rate("0.5/s"), parse_rate("unlimited")
    (1.0, 1.0, 0.5, inf)
    """
    if text.strip() == "unlimited":
        return math.inf
    found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*/\s*(s|min|h)\s*", text)
    if not found or float(found[1]) == 0:
        raise InputError(
            f"`rate` {quoted(text)} is no pace; give a number above 0 by s, min or h, such as 3600/h or 20/s"
        )
    return float(found[1]) / _SECONDS[found[2]]


class Pace:
    """The pace of one run, on a clock that never jumps.

    The store remembers the last call by the wall clock, so that a restart keeps to the pace too: `since_last` is the
    seconds that have passed since then. It may be anything if that clock was set; the wait is one interval at most.

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
        """Note that a call goes out at `now`, which is not before `next_call`."""
        self.next_call = max(self.next_call, now - _SLACK) + self.interval
