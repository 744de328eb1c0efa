"""What answers mean, and what is done about them."""

from __future__ import annotations

import json
import random

import pytest

from imagenet_captions.crawler import policy
from imagenet_captions.crawler.limits import RetrySettings
from imagenet_captions.crawler.policy import Answer, Attempt, Failures, Meaning, State
from imagenet_captions.errors import InputError

SORRY = "Sorry, the Flickr API service is not currently available."
PAGE_429 = (
    b"<html><body><h1>429 Too Many Requests</h1> "
    b"You have sent too many requests in a given amount of time.</body></html>"
)


def fail(code: object, message: str = "…") -> bytes:
    return json.dumps({"stat": "fail", "code": code, "message": message}).encode()


@pytest.mark.parametrize(
    ("attempt", "meaning"),
    [
        (Attempt(200, b'{"photo":{"id":"7"},"stat":"ok"}'), Meaning.FOUND),
        (Attempt(200, b'{"photo":{"id":7},"stat":"ok"}'), Meaning.FOUND),
        (Attempt(200, b'{"photo":{"id":"7","title":{"_content":"caf\xe9"}},"stat":"ok"}'), Meaning.FOUND),
        (Attempt(200, b'{"photo":{"id":"8"},"stat":"ok"}'), Meaning.UNUSABLE),
        (Attempt(200, b'{"photo":{},"stat":"ok"}'), Meaning.UNUSABLE),
        (Attempt(200, b'{"photo":[],"stat":"ok"}'), Meaning.UNUSABLE),
        (Attempt(200, b'{"photo":{"id":"7"}}'), Meaning.UNUSABLE),
        (Attempt(200, b'{"photo":{"id":"7"},"stat":"o'), Meaning.UNUSABLE),
        (Attempt(200, b"[1, 2]"), Meaning.UNUSABLE),
        (Attempt(200, b"[" * 100_000), Meaning.UNUSABLE),
        (Attempt(200, b""), Meaning.UNUSABLE),
        (Attempt(200, b"<html><body>massage</body></html>"), Meaning.UNUSABLE),
        (Attempt(500, b'{"photo":{"id":"7"},"stat":"ok"}'), Meaning.UNUSABLE),
        (Attempt(302, b""), Meaning.UNUSABLE),
        (Attempt(failure="ReadTimeout"), Meaning.UNUSABLE),
        (Attempt(200, fail(1, "Photo not found")), Meaning.GONE),
        (Attempt(200, fail("1", 'Photo "7" not found (invalid ID)')), Meaning.GONE),
        (Attempt(200, fail(1, "Required parameter missing")), Meaning.UNUSABLE),
        (Attempt(200, fail(1, SORRY)), Meaning.UNUSABLE),
        (Attempt(500, fail(1, "Photo not found")), Meaning.UNUSABLE),
        (Attempt(200, fail(2, "Permission denied")), Meaning.PRIVATE),
        (Attempt(200, fail(0, SORRY)), Meaning.UNUSABLE),
        (Attempt(200, fail(201, SORRY)), Meaning.UNUSABLE),
        (Attempt(200, fail(201, SORRY) + b","), Meaning.UNUSABLE),
        (Attempt(200, fail(105)), Meaning.UNUSABLE),
        (Attempt(200, fail(106)), Meaning.UNUSABLE),
        (Attempt(200, fail(99)), Meaning.UNUSABLE),
        (Attempt(200, fail(True)), Meaning.UNUSABLE),
        (Attempt(200, fail(None)), Meaning.UNUSABLE),
        (Attempt(200, fail("9" * 5000)), Meaning.UNUSABLE),
        (Attempt(200, fail(100, "Invalid API Key (Key has expired)")), Meaning.REFUSED),
        (Attempt(401, fail(100)), Meaning.REFUSED),
        *[(Attempt(200, fail(code)), Meaning.REFUSED) for code in (95, 96, 97, 98, 111, 112, 114, 115)],
        (Attempt(429, b""), Meaning.BUSY),
        (Attempt(200, PAGE_429), Meaning.BUSY),
        (Attempt(200, b'{"photo":{"id":"7","title":"429 Too Many Requests"},"stat":"ok"}'), Meaning.FOUND),
        (Attempt(200, fail(1, "429 Too Many Requests")), Meaning.GONE),
        (Attempt(200, b'"429 Too Many Requests"'), Meaning.BUSY),
        (Attempt(503, b"", retry_after="3"), Meaning.BUSY),
        (Attempt(503, b""), Meaning.UNUSABLE),
    ],
)
def test_meaning_of_an_attempt(attempt: Attempt, meaning: Meaning) -> None:
    assert policy.read_answer("7", attempt).meaning is meaning


def test_reasons_are_short_and_on_one_line() -> None:
    reason = policy.read_answer("7", Attempt(200, fail(105, "a\nb\x1b[31m" + "x" * 10_000_000))).reason
    assert reason.startswith("code 105: a b [31mxxx")
    assert len(reason) < 100


def decide(answer: Answer, failures: Failures | None = None, chance: float = 0.5) -> policy.Decision:
    return policy.decide(answer, failures or Failures(), RetrySettings(), 0.0, chance)


@pytest.mark.parametrize(
    ("meaning", "state"),
    [(Meaning.FOUND, State.OK), (Meaning.GONE, State.NOT_FOUND), (Meaning.PRIVATE, State.PRIVATE)],
)
def test_only_three_meanings_are_final(meaning: Meaning, state: State) -> None:
    assert decide(Answer(meaning), Failures(100, 100, 100, 100)) == policy.Final(state)
    for other in set(Meaning) - {Meaning.FOUND, Meaning.GONE, Meaning.PRIVATE}:
        assert not isinstance(decide(Answer(other)), policy.Final)


def test_waits_double_up_to_a_bound_and_are_spread() -> None:
    waits = [decide(Answer(Meaning.UNUSABLE), Failures(photo_in_run=failed)) for failed in range(11)]
    assert [wait.seconds for wait in waits if isinstance(wait, policy.RetryAfter)] == [
        *(0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0)
    ]
    spread = [decide(Answer(Meaning.UNUSABLE), chance=chance) for chance in (0.0, 0.999)]
    assert [round(wait.seconds, 2) for wait in spread if isinstance(wait, policy.RetryAfter)] == [0.38, 0.62]


@pytest.mark.parametrize("longest", [300.0, 7.0, 0.1])
def test_no_wait_is_longer_than_the_longest_one(longest: float) -> None:
    settings = RetrySettings(longest_wait=longest)
    for failed in range(11):
        for chance in (0.0, 0.5, 0.999999):
            wait = policy.decide(Answer(Meaning.UNUSABLE), Failures(photo_in_run=failed), settings, 0.0, chance)
            assert isinstance(wait, policy.RetryAfter)
            assert 0 < wait.seconds <= longest


@pytest.mark.parametrize("name", ["first_wait", "longest_wait", "first_pause", "longest_pause", "tries"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_settings_that_would_hammer_the_host_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"`{name}` must be more than 0, not {value}"):
        RetrySettings(**{name: value})  # type: ignore[arg-type]


def test_a_photo_is_set_aside_after_its_tries() -> None:
    aside = policy.SetAside("HTTP 500")
    answer = Answer(Meaning.UNUSABLE, "HTTP 500")
    assert decide(answer, Failures(photo_in_run=11, photo_ever=11)) == aside
    assert decide(answer, Failures(photo_in_run=10, photo_ever=10)) != aside
    assert decide(answer, Failures(photo_in_run=2, photo_ever=14)) == aside  # it failed in an earlier run
    assert decide(answer, Failures(photo_in_run=1, photo_ever=13)) != aside


@pytest.mark.parametrize(
    ("header", "pauses", "seconds"),
    [
        (None, 0, 1.0),
        (None, 3, 8.0),
        (None, 15, 300.0),
        ("0", 1, 2.0),
        ("120", 0, 120.0),
        ("3600", 0, 3600.0),
        ("31536000", 0, 1.0),  # a year
        ("9" * 18, 2, 4.0),
        ("-5", 0, 1.0),
        ("soon", 0, 1.0),
        ("inf", 0, 1.0),
        ("", 0, 1.0),
        ("٣٠", 0, 1.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 0, 100.0),
        ("Thu, 01 Jan 2970 00:01:40 GMT", 0, 1.0),
        ("Thu, 01 Jan 1960 00:01:40 GMT", 0, 1.0),
        ("Thu, 99 Jan 1970 00:01:40 GMT", 0, 1.0),
    ],
)
def test_a_busy_host_is_left_alone(header: str | None, pauses: int, seconds: float) -> None:
    decision = decide(Answer(Meaning.BUSY, "HTTP 429", header), Failures(pauses=pauses))
    assert decision == policy.PauseHost(seconds, "HTTP 429")


def test_a_busy_host_never_counts_against_the_photo() -> None:
    assert isinstance(decide(Answer(Meaning.BUSY), Failures(photo_in_run=11, photo_ever=11)), policy.PauseHost)


def test_the_run_stops_at_a_refusal_and_after_many_failures() -> None:
    assert decide(Answer(Meaning.REFUSED, "code 100: …")) == policy.StopRun("code 100: …", resumable=False)
    many = decide(Answer(Meaning.UNUSABLE, "HTTP 500"), Failures(in_a_row=49))
    assert many == policy.StopRun("50 calls in a row failed, the last one with HTTP 500", resumable=True)
    assert not isinstance(decide(Answer(Meaning.UNUSABLE), Failures(in_a_row=48)), policy.StopRun)
    assert isinstance(decide(Answer(Meaning.BUSY), Failures(pauses=19)), policy.StopRun)


def test_a_fault_rate_of_thirty_percent_never_stops_a_run() -> None:
    chance, longest, row = random.Random(1), 0, 0
    for _ in range(1_000_000):
        row = row + 1 if chance.random() < 0.3 else 0
        longest = max(longest, row)
    assert longest < RetrySettings().pauses_in_a_row < RetrySettings().failures_in_a_row
