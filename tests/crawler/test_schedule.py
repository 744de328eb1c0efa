"""Which photo is asked for next, and when: rates, the pace, waits and pauses, without a clock."""

from __future__ import annotations

import math

import pytest

from imagenet_captions.crawler.limits import CALLS_AT_ONCE
from imagenet_captions.crawler.schedule import Pace, Schedule, parse_rate
from imagenet_captions.errors import InputError


def schedule(*photos: str, rate: float = 1.0, pause_until: float = -math.inf) -> Schedule:
    return Schedule(iter(photos), Pace(rate, now=0.0, since_last=None), pause_until)


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "1", "1/day", "1e9/s", "nan/s", "1 / s / s", "٣/s", "0.0/h"])
def test_a_pace_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a rate"):
        parse_rate(text)


def test_a_late_call_does_not_let_the_next_ones_hurry() -> None:
    pace = Pace(10.0, now=0.0, since_last=None)
    sent = []
    for late in (0.0, 0.01, 0.0, 0.5, 0.0, 0.0):
        now = pace.next_call + late
        pace.take(now)
        sent.append(round(now, 3))
    # 10 ms late are made up for by the next call; of 500 ms, all but the 20 ms of slack are lost.
    assert sent == [0.0, 0.11, 0.2, 0.8, 0.88, 0.98]


@pytest.mark.parametrize(
    ("since_last", "wait"), [(None, 0.0), (0.0, 2.0), (1.5, 0.5), (9.0, 0.0), (-1e9, 2.0), (1e9, 0.0)]
)
def test_the_pace_holds_over_a_restart_whatever_the_clock_did(since_last: float | None, wait: float) -> None:
    assert Pace(0.5, now=100.0, since_last=since_last).next_call == 100.0 + wait


def test_photos_come_in_order_at_the_pace_and_then_no_more() -> None:
    made, sent = schedule("1", "2", "3"), []
    while (time := made.next_call(0.0)) is not None:
        sent.append((made.take(time), time))
    assert sent == [("1", 0.0), ("2", 1.0), ("3", 2.0)]
    assert made.taken == 3


def test_a_photo_that_has_waited_long_enough_goes_first() -> None:
    made = schedule("1", "2", "3", rate=math.inf)
    assert made.take(0.0) == "1"
    made.ask_again("1", 5.0)
    assert made.take(4.9) == "2"
    assert made.take(5.0) == "1"
    made.ask_again("1", 9.0)
    made.ask_again("2", 7.0)
    assert made.take(6.0) == "3"
    assert made.next_call(6.0) == 7.0
    assert [made.take(7.0), made.take(9.0), made.next_call(9.0)] == ["2", "1", None]
    assert made.taken == 3


def test_a_pause_holds_back_every_photo_and_is_not_prolonged_by_earlier_calls() -> None:
    made = schedule("1", "2", rate=math.inf, pause_until=3.0)
    assert made.next_call(1.0) == 3.0
    assert made.pause(sent=3.0, now=4.0, seconds=10.0)
    assert not made.pause(sent=3.5, now=5.0, seconds=100.0)
    assert made.next_call(5.0) == 14.0
    assert made.pause(sent=14.0, now=15.0, seconds=20.0)
    assert made.next_call(15.0) == 35.0


@pytest.mark.parametrize(("took", "at_once"), [(0.1, 1), (0.6, 2), (2.5, 4), (1000.0, CALLS_AT_ONCE)])
def test_calls_overlap_only_where_answers_take_longer_than_the_pace(took: float, at_once: int) -> None:
    made = schedule("1")
    for _ in range(50):
        made.answered(took)
    assert made.calls_at_once() == at_once
    made.answered(30.0)
    assert made.calls_at_once() == max(at_once, CALLS_AT_ONCE)
