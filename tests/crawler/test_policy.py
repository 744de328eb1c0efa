"""What answers mean, and what is done about them."""

from __future__ import annotations

import json

import pytest

from imagenet_captions.crawler import policy
from imagenet_captions.crawler.policy import Attempt, Failures, State, Verdict

SORRY = "Sorry, the Flickr API service is not currently available."
PAGE_429 = (
    b"<html><body><h1>429 Too Many Requests</h1> "
    b"You have sent too many requests in a given amount of time.</body></html>"
)


def fail(code: object, message: str = "…") -> bytes:
    return json.dumps({"stat": "fail", "code": code, "message": message}).encode()


@pytest.mark.parametrize(
    ("attempt", "state"),
    [
        (Attempt(200, b'{"photo":{"id":"7"},"stat":"ok"}'), State.OK),
        (Attempt(200, b'{"photo":{"id":7},"stat":"ok"}'), State.OK),
        (Attempt(200, b'{"photo":{"id":"7","title":{"_content":"caf\xe9"}},"stat":"ok"}'), State.OK),
        (Attempt(200, b'{"photo":{"id":"8"},"stat":"ok"}'), State.WAITING),
        (Attempt(200, b'{"photo":{"id":"7"}}'), State.WAITING),
        (Attempt(200, b'{"photo":{"id":"7"},"stat":"o'), State.WAITING),
        (Attempt(200, b"[" * 100_000), State.WAITING),
        (Attempt(200, b"<html><body>massage</body></html>"), State.WAITING),
        (Attempt(500, b'{"photo":{"id":"7"},"stat":"ok"}'), State.WAITING),
        (Attempt(failure="ReadTimeout"), State.WAITING),
        (Attempt(200, fail(1, "Photo not found")), State.NOT_FOUND),
        (Attempt(200, fail("1", 'Photo "7" not found (invalid ID)')), State.NOT_FOUND),
        (Attempt(200, fail(1, "Required parameter missing")), State.WAITING),
        (Attempt(500, fail(1, "Photo not found")), State.WAITING),
        (Attempt(200, fail(2, "Permission denied")), State.PRIVATE),
        (Attempt(200, fail(201, SORRY) + b","), State.WAITING),
        (Attempt(200, fail(105)), State.WAITING),
        (Attempt(200, fail("9" * 5000)), State.WAITING),
        (Attempt(200, fail(100, "Invalid API Key (Key has expired)")), State.REFUSED),
        (Attempt(401, fail(100)), State.REFUSED),
        *[(Attempt(200, fail(code)), State.REFUSED) for code in (95, 96, 97, 98, 111, 112, 114, 115)],
        (Attempt(429, b""), State.BUSY),
        (Attempt(200, PAGE_429), State.BUSY),
        (Attempt(200, b'{"photo":{"id":"7","title":"429 Too Many Requests"},"stat":"ok"}'), State.OK),
        (Attempt(200, fail(1, "429 Too Many Requests")), State.NOT_FOUND),
        (Attempt(503, b"", retry_after="3"), State.BUSY),
        (Attempt(503, b""), State.WAITING),
    ],
)
def test_what_an_attempt_says(attempt: Attempt, state: State) -> None:
    assert policy.read_answer("7", attempt, 0.0).state is state


FAILED, FINAL = Verdict(State.WAITING, "HTTP 500"), (State.OK, State.NOT_FOUND, State.PRIVATE)
BUSY = Verdict(State.BUSY, "HTTP 429")
MANY = Verdict(State.STOPPED, "50 calls in a row failed, the last one with HTTP 500")


def waits(seconds: float) -> Verdict:
    return Verdict(State.WAITING, "HTTP 500", seconds)


@pytest.mark.parametrize(
    ("answer", "failures", "decision"),
    [
        *[(Verdict(state), Failures(100, 100, 100, 100), Verdict(state)) for state in FINAL],
        *[(FAILED, Failures(row), waits(2.0**row / 2)) for row in range(10)],
        (FAILED, Failures(10, 10), waits(300.0)),
        (FAILED, Failures(11, 11), Verdict(State.UNREACHABLE, "HTTP 500")),
        (FAILED, Failures(1, 13), waits(1.0)),  # it failed in an earlier run, and gets three calls
        (FAILED, Failures(2, 14), Verdict(State.UNREACHABLE, "HTTP 500")),
        (FAILED, Failures(in_a_row=48), waits(0.5)),
        (FAILED, Failures(in_a_row=49), MANY),
        (BUSY, Failures(pauses=18), Verdict(State.BUSY, "HTTP 429", 300.0)),
        (BUSY, Failures(pauses=19), Verdict(State.STOPPED, "the host asked for a pause 20 times in a row (HTTP 429)")),
        (Verdict(State.REFUSED, "code 100: …"), Failures(in_a_row=99), Verdict(State.REFUSED, "code 100: …")),
    ],
)
def test_what_is_done_about_an_answer(answer: Verdict, failures: Failures, decision: Verdict) -> None:
    assert policy.decide(answer, failures, 12, 0.5) == decision


def test_waits_are_spread_and_never_longer_than_the_longest() -> None:
    for row, least, most in ((0, 0.38, 0.62), (10, 225.0, 300.0)):
        found = [policy.decide(FAILED, Failures(row), 12, chance).seconds for chance in (0.0, 0.999)]
        assert [round(seconds, 2) for seconds in found] == [least, most]


@pytest.mark.parametrize(
    ("header", "pauses", "seconds"),
    [
        (None, 0, 1.0),
        ("0", 1, 2.0),
        ("120", 0, 120.0),
        ("31536000", 0, 1.0),  # a year
        ("soon", 0, 1.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 0, 100.0),
        ("Thu, 01 Jan 2970 00:01:40 GMT", 0, 1.0),
    ],
)
def test_a_busy_host_is_left_alone(header: str | None, pauses: int, seconds: float) -> None:
    answer = policy.read_answer("7", Attempt(429, b"", header), 0.0)
    decision = policy.decide(answer, Failures(pauses=pauses), 12, 0.5)
    assert decision == Verdict(State.BUSY, "HTTP 429", seconds)
