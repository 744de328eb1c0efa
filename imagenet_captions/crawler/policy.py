"""Read the result of a call and decide what to do next: pure functions without clock or network.

Flickr says "no" with HTTP 200 and a code in the body, so the body counts before the status.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from imagenet_captions.errors import shortened

LARGEST_ANSWER = 8 << 20  # bytes, unpacked; Flickr's have a few kilobytes

# Seconds.
FIRST_WAIT, LONGEST_WAIT = 0.5, 300.0  # between two calls for one photo
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0  # of all calls
LONGEST_RETRY_AFTER = 3600.0  # a longer one is a fault of the server

TRIES_AGAIN = 3  # calls in a run for a photo that failed in all tries of an earlier run
FAILURES_IN_A_ROW = 50  # over all photos; a fault rate of 30 % never comes near it
PAUSES_IN_A_ROW = 20  # more than an hour at `LONGEST_PAUSE`, and Flickr counts by the hour


class State(str, Enum):
    """What is known of a photo, or what a call says of the service; the first three are final."""

    OK = "ok"
    NOT_FOUND = "not_found"
    PRIVATE = "private"
    WAITING = "waiting"  # the call failed; to be asked again
    UNREACHABLE = "unreachable"  # so many calls failed that the run went on without it
    # Never stored.
    NOT_ASKED = "not_asked"
    DAMAGED = "damaged"  # a row that no crawl has written
    BUSY = "busy"  # the host wants to be left alone for a while
    REFUSED = "refused"  # the key, the signature or the endpoint is wrong, whatever the photo
    STOPPED = "stopped"  # too many calls failed in a row


FINAL_STATES = (State.OK, State.NOT_FOUND, State.PRIVATE)


@dataclass(frozen=True)
class Attempt:
    """The result of one call, or why there is none."""

    status: int | None = None  # None: no whole answer came
    body: bytes = b""
    retry_after: str | None = None  # the header as it came
    failure: str = ""  # such as "ReadTimeout"


@dataclass(frozen=True)
class Failures:
    """The numbers of failures before an attempt."""

    photo_in_run: int = 0
    photo_ever: int = 0  # since its last final answer, earlier runs included
    in_a_row: int = 0  # over all photos, since the last final answer
    pauses: int = 0  # of the host, since the last final answer


@dataclass(frozen=True)
class Verdict:
    """What an attempt says, or what to do about it, with the reason in words.

    A final answer is kept. WAITING asks for the photo again after some seconds, BUSY for nothing before; UNREACHABLE
    sets the photo aside until the next run. STOPPED and REFUSED end the run; after STOPPED the same command can go on.
    """

    state: State
    reason: str = ""
    seconds: float = 0.0


# 95 SSL is required, 96 invalid signature, 97 missing signature, 98 invalid auth token, 100 invalid API key,
# 111 format not found, 112 method not found, 114 bad SOAP envelope, 115 bad XML-RPC call.
_REFUSALS = frozenset({"95", "96", "97", "98", "100", "111", "112", "114", "115"})

# Undocumented, seen with codes 0 and 201: the text tells more than the code.
_UNAVAILABLE = "not currently available"

# A 429 page, also seen without its status:
# <html><body><h1>429 Too Many Requests</h1> You have sent too many requests in a given amount of time.</body></html>
_TOO_MANY = b"429 Too Many Requests"


def parse_body(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, or None; bytes that are not UTF-8 become U+FFFD."""
    try:
        parsed = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def read_answer(photo_id: str, attempt: Attempt, now: float) -> Verdict:
    """Return what the attempt says about the photo; `now` is Unix time."""
    if attempt.status is None:
        return Verdict(State.WAITING, attempt.failure or "no answer")
    parsed = parse_body(attempt.body)
    too_many = parsed is None and _TOO_MANY in attempt.body[:2000]  # which may also be a photo's title
    if too_many or attempt.status == 429 or (attempt.status == 503 and attempt.retry_after):
        asked = _seconds_asked(attempt.retry_after, now)
        return Verdict(State.BUSY, f"HTTP {attempt.status}", asked)
    if attempt.status != 200 and (parsed is None or parsed.get("stat") != "fail"):
        return Verdict(State.WAITING, f"HTTP {attempt.status}")
    if parsed is None:
        return Verdict(State.WAITING, "an answer that is not JSON")
    return _read_parsed(photo_id, parsed, attempt.status)


def parse_stored(photo_id: str, state: State, body: bytes) -> dict[str, Any] | None:
    """Parse a stored answer; return None if it is not JSON, is about another photo, or contradicts the state."""
    parsed = parse_body(body)
    if parsed is None or state not in FINAL_STATES:
        return None
    said = _read_parsed(photo_id, parsed, 200).state
    return parsed if said in FINAL_STATES and (said is State.OK) == (state is State.OK) else None


def _read_parsed(photo_id: str, parsed: dict[str, Any], status: int) -> Verdict:
    photo, message = parsed.get("photo"), str(parsed.get("message", ""))
    if parsed.get("stat") == "ok":
        if isinstance(photo, dict) and str(photo.get("id")) == photo_id:
            return Verdict(State.OK)
        return Verdict(State.WAITING, "an answer about another photo")
    if parsed.get("stat") != "fail":
        return Verdict(State.WAITING, "an answer without stat")
    code = shortened(parsed.get("code"), 9)
    state = State.WAITING
    if code in _REFUSALS and _UNAVAILABLE not in message:
        state = State.REFUSED
    # Code 1 can also be "Required parameter missing", and code 2 a wrong argument, which say nothing about the photo.
    elif status == 200 and not re.search(f"{_UNAVAILABLE}|parameter missing|argument", message, re.IGNORECASE):
        state = {"1": State.NOT_FOUND, "2": State.PRIVATE}.get(code, State.WAITING)
    return Verdict(state, f"code {code}: {shortened(message)}")


def decide(answer: Verdict, failures: Failures, tries: int, chance: float) -> Verdict:
    """Decide what to do after an answer; `chance`, in [0, 1), spreads the waits."""
    state, reason = answer.state, answer.reason
    if state in FINAL_STATES or state is State.REFUSED:
        return answer
    if failures.in_a_row + 1 >= FAILURES_IN_A_ROW:
        return Verdict(State.STOPPED, f"{FAILURES_IN_A_ROW} calls in a row failed, the last one with {reason}")
    if state is State.BUSY:
        if failures.pauses + 1 >= PAUSES_IN_A_ROW:
            asked = f"the host asked for a pause {PAUSES_IN_A_ROW} times in a row"
            return Verdict(State.STOPPED, f"{asked} ({reason})")
        pause = min(FIRST_PAUSE * 2.0**failures.pauses, LONGEST_PAUSE)
        return Verdict(state, reason, max(pause, answer.seconds))
    if failures.photo_in_run + 1 >= (min(tries, TRIES_AGAIN) if failures.photo_ever >= tries else tries):
        return Verdict(State.UNREACHABLE, reason)
    wait = min(FIRST_WAIT * 2.0 ** min(failures.photo_in_run, 60), LONGEST_WAIT)
    return Verdict(state, reason, min(wait * (0.75 + chance / 2), LONGEST_WAIT))


def _seconds_asked(retry_after: str | None, now: float) -> float:
    """Return the seconds in a Retry-After header; 0 if it cannot be read, or asks for too many."""
    text = (retry_after or "").strip()
    try:
        asked = float(text) if text.isdigit() else parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
    return asked if 0 < asked <= LONGEST_RETRY_AFTER else 0.0
