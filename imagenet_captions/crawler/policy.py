"""Read the result of a call and decide what to do next: pure functions without clock or network. Used by `loop`.

Flickr says "no" with HTTP 200 and a code in the body, and half of its faults come that way too, so the body counts
before the status. Only three states are final; the crawl asks again about everything else.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

from imagenet_captions.crawler.limits import RetrySettings
from imagenet_captions.errors import shortened


class State(str, Enum):
    """The state of a photo; the first three are final."""

    OK = "ok"
    NOT_FOUND = "not_found"
    PRIVATE = "private"
    WAITING = "waiting"  # the call failed; to be asked again
    UNREACHABLE = "unreachable"  # so many calls failed that the run went on without it
    DAMAGED = "damaged"  # never stored: the state of a row that no crawl has written


FINAL_STATES = (State.OK, State.NOT_FOUND, State.PRIVATE)


@dataclass(frozen=True)
class Attempt:
    """The result of one call, or why there is none.

    >>> Attempt(status=200, body=b"{}").failure
    ''
    """

    status: int | None = None  # None: no whole answer came
    body: bytes = b""
    retry_after: str | None = None  # the header as it came
    failure: str = ""  # such as "ReadTimeout"


class Meaning(str, Enum):
    """What the result of a call says about the photo or the service."""

    FOUND = "found"
    GONE = "gone"
    PRIVATE = "private"
    REFUSED = "refused"  # the key, the signature or the endpoint is wrong, whatever the photo
    BUSY = "busy"  # the host wants to be left alone for a while
    UNUSABLE = "unusable"


@dataclass(frozen=True)
class Answer:
    """The meaning of an attempt, with the reason in words."""

    meaning: Meaning
    reason: str = ""
    retry_after: str | None = None


@dataclass(frozen=True)
class Failures:
    """The numbers of failures before an attempt."""

    photo_in_run: int = 0
    photo_ever: int = 0  # since its last final answer, earlier runs included
    in_a_row: int = 0  # over all photos, since the last final answer
    pauses: int = 0  # of the host, since the last final answer


@dataclass(frozen=True)
class Final:
    """Keep the answer: the photo's state is known."""

    state: State


@dataclass(frozen=True)
class RetryAfter:
    """Ask for this photo again after so many seconds."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class PauseHost:
    """Ask for nothing for so many seconds, then for this photo again; it does not count as a failure of the photo."""

    seconds: float
    reason: str


@dataclass(frozen=True)
class SetAside:
    """Go on without this photo; the next run asks for it again."""

    reason: str


@dataclass(frozen=True)
class StopRun:
    """End the run; `resumable` if the same command can succeed later, else the user has to change something."""

    reason: str
    resumable: bool


Decision = Final | RetryAfter | PauseHost | SetAside | StopRun

_FINAL = {Meaning.FOUND: State.OK, Meaning.GONE: State.NOT_FOUND, Meaning.PRIVATE: State.PRIVATE}

# 95 SSL is required, 96 invalid signature, 97 missing signature, 98 invalid auth token, 100 invalid API key,
# 111 format not found, 112 method not found, 114 bad SOAP envelope, 115 bad XML-RPC call.
_REFUSALS = frozenset({95, 96, 97, 98, 100, 111, 112, 114, 115})

# Undocumented, seen with codes 0 and 201: the text tells more than the code.
_UNAVAILABLE = "not currently available"

# A 429 page, also seen without its status:
# <html><body><h1>429 Too Many Requests</h1> You have sent too many requests in a given amount of time.</body></html>
_TOO_MANY = b"429 Too Many Requests"


def parse_body(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object in a body, or None; bytes that are not UTF-8 become U+FFFD.

    >>> parse_body(b'{"stat":"ok"}')
    {'stat': 'ok'}
    >>> parse_body(b'{"stat":"fail","code":201},') is None
    True
    """
    try:
        parsed = json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def read_answer(photo_id: str, attempt: Attempt) -> Answer:
    """Return what the attempt says about the photo.

    >>> body = b'{"stat":"fail","code":"1","message":"Photo not found"}'
    >>> read_answer("7", Attempt(status=200, body=body)).meaning.value
    'gone'
    """
    if attempt.status is None:
        return Answer(Meaning.UNUSABLE, attempt.failure or "no answer")
    parsed = parse_body(attempt.body)
    too_many = parsed is None and _TOO_MANY in attempt.body[:2000]  # which may also be a photo's title
    if too_many or attempt.status == 429 or (attempt.status == 503 and attempt.retry_after):
        return Answer(Meaning.BUSY, f"HTTP {attempt.status}", attempt.retry_after)
    if attempt.status != 200 and (parsed is None or parsed.get("stat") != "fail"):
        return Answer(Meaning.UNUSABLE, f"HTTP {attempt.status}")
    if parsed is None:
        return Answer(Meaning.UNUSABLE, "an answer that is not JSON")
    return _read_parsed(photo_id, parsed, attempt.status)


def parse_stored(photo_id: str, state: State, body: bytes) -> dict[str, Any] | None:
    """Parse a stored answer; returns None if it is not JSON, is about another photo, or contradicts the state.

    >>> parse_stored("7", State.OK, b'{"photo":{"id":"8"},"stat":"ok"}') is None
    True
    """
    parsed = parse_body(body)
    if parsed is None:
        return None
    said = _FINAL.get(_read_parsed(photo_id, parsed, 200).meaning)
    return parsed if said and (said is State.OK) == (state is State.OK) else None


def _read_parsed(photo_id: str, parsed: dict[str, Any], status: int) -> Answer:
    if parsed.get("stat") == "fail":
        return _read_failure(parsed, status)
    if parsed.get("stat") != "ok":
        return Answer(Meaning.UNUSABLE, "an answer without stat")
    photo = parsed.get("photo")
    if not isinstance(photo, dict) or str(photo.get("id")) != photo_id:
        return Answer(Meaning.UNUSABLE, "an answer about another photo")
    return Answer(Meaning.FOUND)


def _read_failure(parsed: dict[str, Any], status: int) -> Answer:
    code, message = _integer(parsed.get("code")), str(parsed.get("message", ""))
    reason = f"code {code}: {shortened(message)}"
    if _UNAVAILABLE in message:
        return Answer(Meaning.UNUSABLE, reason)
    if code in _REFUSALS:
        return Answer(Meaning.REFUSED, reason)
    # Of other methods, code 1 can also be "Required parameter missing", which says nothing about the photo.
    if status == 200 and code == 1 and "parameter missing" not in message.lower():
        return Answer(Meaning.GONE, reason)
    if status == 200 and code == 2 and "argument" not in message.lower():
        return Answer(Meaning.PRIVATE, reason)
    return Answer(Meaning.UNUSABLE, reason)


def decide(answer: Answer, failures: Failures, settings: RetrySettings, now: float, chance: float) -> Decision:
    """Decide what to do after an answer; `now` is Unix time, `chance` a random number in [0, 1) that spreads the waits.

    >>> decide(Answer(Meaning.UNUSABLE, "HTTP 500"), Failures(photo_in_run=2), RetrySettings(), 0.0, 0.5)
    RetryAfter(seconds=2.0, reason='HTTP 500')
    """
    if answer.meaning in _FINAL:
        return Final(_FINAL[answer.meaning])
    if answer.meaning is Meaning.REFUSED:
        return StopRun(answer.reason, resumable=False)
    if failures.in_a_row + 1 >= settings.failures_in_a_row:
        return StopRun(
            f"{failures.in_a_row + 1} calls in a row failed, the last one with {answer.reason}", resumable=True
        )
    if answer.meaning is Meaning.BUSY:
        return _pause(answer, failures, settings, now)
    tries = settings.tries_again if failures.photo_ever >= settings.tries else settings.tries
    if failures.photo_in_run + 1 >= tries:
        return SetAside(answer.reason)
    wait = settings.first_wait * 2.0 ** min(failures.photo_in_run, 60)
    spread = min(wait, settings.longest_wait) * (0.75 + chance / 2)
    return RetryAfter(min(spread, settings.longest_wait), answer.reason)


def _pause(answer: Answer, failures: Failures, settings: RetrySettings, now: float) -> Decision:
    if failures.pauses + 1 >= settings.pauses_in_a_row:
        return StopRun(
            f"the host asked for a pause {failures.pauses + 1} times in a row ({answer.reason})", resumable=True
        )
    pause = min(settings.first_pause * 2.0 ** min(failures.pauses, 60), settings.longest_pause)
    asked = retry_after_seconds(answer.retry_after, now)
    # A Retry-After of a year is a fault of the server; our own growing pause is used instead.
    if asked is not None and asked <= settings.longest_retry_after:
        pause = max(pause, asked)
    return PauseHost(pause, answer.reason)


def retry_after_seconds(header: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After header asks for, or None if it cannot be read.

    >>> retry_after_seconds("120", 0.0), retry_after_seconds("Thu, 01 Jan 1970 00:01:00 GMT", 0.0)
    (120.0, 60.0)
    >>> retry_after_seconds("soon", 0.0)
    """
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,18}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _integer(value: Any) -> int | None:
    return int(value) if isinstance(value, int | str) and re.fullmatch(r"-?[0-9]{1,9}", str(value)) else None
