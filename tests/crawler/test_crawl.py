"""The crawl as a whole, in a world whose clock we hold: what is asked, how often, and what is left behind."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.crawler.crawl import CrawlReport, CrawlSettings, crawl
from imagenet_captions.crawler.policy import Attempt
from imagenet_captions.crawler.store import read_store
from imagenet_captions.demo.flickr_stand_in import FAULTS, FlickrStandIn, StandInSettings, failure
from imagenet_captions.errors import InputError, StoppedEarly
from tests.crawler.crawl_tools import KEY, SECRET, World, attempt, ok, real_tools, write_matches

GONE, PRIVATE = attempt(failure(1, "Photo not found")), attempt(failure(2, "Permission denied"))


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def good(photo_id: str) -> Attempt:
    return attempt(ok(photo_id))


class Crawled(World):
    """A world in which some photos are crawled."""

    def __init__(self, folder: Path, photos: Sequence[str], respond: Callable[[str], Attempt] = good) -> None:
        super().__init__(respond)
        self.matches, self.store = write_matches(folder, photos), folder / "photos.sqlite"

    def crawl(self, sleep: Callable[[float], None] | None = None, **settings: Any) -> CrawlReport:
        tools = replace(self.tools(), sleep=sleep or self.sleep)
        return crawl(self.matches, self.store, CrawlSettings(**settings), tools)

    def states(self, *photo_ids: str) -> list[str]:
        with read_store(self.store) as reader:
            found = [reader.get(photo_id) for photo_id in photo_ids]
        return [stored.state.value if stored else "-" for stored in found]

    def gaps(self) -> list[float]:
        return [later - earlier for (earlier, _), (later, _) in pairwise(self.calls)]


def test_each_photo_is_asked_for_once(tmp_path: Path) -> None:
    answers = {"5": attempt(ok("5")), "3": GONE, "9": PRIVATE, "4": attempt(ok("4"))}
    world = Crawled(tmp_path, ["5", "3", "5", "9", "3", "4"], answers.__getitem__)
    assert world.crawl() == CrawlReport(asked=4, found=2, not_found=1, private=1, calls=4)
    assert [photo_id for _, photo_id in world.calls] == ["5", "3", "9", "4"]
    assert world.states("5", "3", "9", "4") == ["ok", "not_found", "private", "ok"]
    assert world.crawl() == CrawlReport()


def test_a_limit_counts_photos_and_the_next_run_goes_on(tmp_path: Path) -> None:
    world = Crawled(tmp_path, numbers(7))
    for found, left in ((3, 4), (3, 1), (1, 0), (0, 0)):
        report = world.crawl(limit=3)
        assert (report.found, report.left, report.calls) == (found, left, found)


def test_all_faults_together_lose_nothing(tmp_path: Path) -> None:
    matches, store = write_matches(tmp_path, numbers(40)), tmp_path / "photos.sqlite"
    settings = StandInSettings(faults=FAULTS, fault_rate=0.3, hang_seconds=6.0)
    with FlickrStandIn({photo_id: ok(photo_id) for photo_id in numbers(40)}, settings) as flickr:
        tools = real_tools(timeout=2.0, skip_waits=True)  # no ordinary answer takes so long
        report = crawl(matches, store, CrawlSettings(rate="unlimited", endpoint=flickr.endpoint), tools)
    assert (report.found, report.left) == (40, 0)
    answered = Counter(request.photo_id for request in flickr.requests if request.outcome == "ok")
    assert answered == dict.fromkeys(numbers(40), 1)


def test_a_bad_key_stops_at_the_first_answer_and_marks_nothing(tmp_path: Path) -> None:
    world = Crawled(tmp_path, numbers(30), lambda _: attempt(failure(100, "Invalid API Key (Key has expired)")))
    with pytest.raises(InputError, match=r"code 100: Invalid API Key \(Key has expired\).*check the key"):
        world.crawl()
    assert len(world.calls) == 1
    assert set(world.states(*numbers(30))) == {"-"}


def test_a_dead_host_stops_the_run_soon_and_it_goes_on_later(tmp_path: Path) -> None:
    dead = Attempt(failure="ConnectTimeout")
    world = Crawled(tmp_path, numbers(500), lambda photo_id: good(photo_id) if int(photo_id) < 20 else dead)
    with pytest.raises(StoppedEarly, match=r"50 calls .* ConnectTimeout; .*: 20, photos left: 480; .* same command"):
        world.crawl()
    assert len(world.calls) == 70
    assert world.now - 1000 < 300
    world.respond = good
    report = world.crawl()
    assert (report.found, report.left) == (480, 0)


def test_photos_that_always_fail_hold_nothing_up_for_ever(tmp_path: Path) -> None:
    world = Crawled(tmp_path, numbers(60), lambda photo_id: Attempt(500) if int(photo_id) % 2 else good(photo_id))
    for _ in range(12):
        try:
            report = world.crawl()
            break
        except StoppedEarly:
            continue
    assert (report.unreachable, report.left) == (30, 30)
    assert Counter(world.states(*numbers(60))) == {"ok": 30, "unreachable": 30}
    again = world.crawl()
    assert (again.unreachable, again.left, again.calls) == (30, 30, 30 * 3)
    world.respond = good
    assert world.crawl().found == 30


def test_the_pace_holds_over_days_failures_oversleeping_and_a_late_call_included(tmp_path: Path) -> None:
    world = Crawled(tmp_path, numbers(4000))
    world.respond = lambda photo_id: Attempt(500) if len(world.calls) % 7 == 0 else good(photo_id)
    world.call_seconds = 0.2

    def oversleep(seconds: float) -> None:
        world.now += seconds + (5.0 if len(world.calls) == 50 else 0.015)

    world.crawl(oversleep)
    times = [moment for moment, _ in world.calls]
    assert len(times) > 4500
    assert min(world.gaps()) > 0.97
    assert all(times[index + 3600] - times[index] >= 3600 - 0.03 for index in range(0, len(times) - 3600, 100))
    assert len(times) / (times[-1] - times[0]) > 0.99


def test_the_pace_holds_over_restarts_and_set_clocks(tmp_path: Path) -> None:
    world = Crawled(tmp_path, numbers(400))
    for run in range(40):
        world.crawl(limit=10)
        world.now += 0.3
        world.wall_offset += (-7200, 0, -40 * 365 * 86400, 0)[run % 4]
    assert len(world.calls) == 400
    assert min(world.gaps()) > 0.97
    assert sum(world.gaps()) < 450  # a clock set back by decades holds nothing up


@pytest.mark.parametrize(("retry_after", "least", "most"), [("120", 120, 125), (None, 1, 5)])
def test_a_busy_host_is_left_alone_over_a_restart_too(
    tmp_path: Path, retry_after: str | None, least: float, most: float
) -> None:
    world = Crawled(tmp_path, numbers(5), lambda _: Attempt(429, b"", retry_after))

    def killed(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.crawl(killed)
    world.respond = lambda _: attempt(failure(100, "Invalid API Key"))
    with pytest.raises(InputError):
        world.crawl()
    (gap,) = world.gaps()
    assert least <= gap <= most
    assert set(world.states(*numbers(5))) == {"-"}  # the host was busy; no photo is to blame


def test_pauses_grow_while_the_host_is_busy_and_the_run_ends_at_last(tmp_path: Path) -> None:
    page = Attempt(200, b"<html><h1>429 Too Many Requests</h1></html>")
    world = Crawled(tmp_path, numbers(50), lambda _: page)
    with pytest.raises(StoppedEarly, match="asked for a pause 20 times in a row"):
        world.crawl()
    assert [round(gap) for gap in world.gaps()] == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[300] * 10]


def test_refresh_asks_for_old_answers_alone_and_drops_what_is_gone(tmp_path: Path) -> None:
    world = Crawled(tmp_path, numbers(6), lambda photo_id: {"3": GONE, "4": PRIVATE}.get(photo_id) or good(photo_id))
    world.crawl(limit=5)
    world.wall_offset += 20 * 86400
    world.crawl()  # photo 5 is twenty days younger
    world.wall_offset += 20 * 86400
    new = {"0": GONE, "1": PRIVATE, "2": attempt(ok("2", title={"_content": "new"}))}
    world.respond, world.calls = new.__getitem__, []
    report = world.crawl(refresh_days=30)
    assert [photo_id for _, photo_id in world.calls] == ["0", "1", "2"]
    assert (report.found, report.not_found, report.private, report.left) == (1, 1, 1, 0)
    assert world.states(*numbers(6)) == ["not_found", "private", "ok", "not_found", "private", "ok"]
    with read_store(world.store) as reader:
        answers = [stored.answer if stored else b"" for stored in map(reader.get, ["0", "1", "2"])]
    assert [b"photo 0" in answers[0], b"photo 1" in answers[1], b'"new"' in answers[2]] == [False, False, True]
    assert world.crawl(refresh_days=30).calls == 0


def test_a_crawl_says_where_it_stands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Crawled(tmp_path, numbers(1500), lambda photo_id: GONE if photo_id == "7" else good(photo_id)).crawl()
    assert [record.getMessage() for record in caplog.records] == [
        "read the store: 0 answers",
        "crawl: 1,500 photos",
        "crawl: 1500 asked for: 1499 found, 1 not found, 0 private, 0 unreachable; 0 left",
    ]


def test_a_slow_crawl_says_where_it_stands_while_it_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    world = Crawled(tmp_path, numbers(3))
    monkeypatch.setattr("tqdm.std.time", lambda: world.now)
    times: list[float] = []
    caplog.handler.addFilter(lambda _: times.append(world.now) is None)
    world.crawl(rate="20/h")
    assert world.now > 1360
    assert max(later - earlier for earlier, later in pairwise(times)) < 31
    assert "crawl: 2/3 photos, 165.15 s/photos, 02:45 left, 2 found, 0 gone" in caplog.text  # the pace of the run


@pytest.mark.parametrize(
    "wrong",
    [
        *({"limit": -1}, {"refresh_days": -1}, {"tries": 0}),
        *[{"rate": rate} for rate in ("", "0/s", "-1/s", "1", "1/day", "1e9/s", "٣/s", "unlimited", "3601/h")],
        {"rate": "unlimited", "endpoint": "https://api.flickr.com/x"},
        {"rate": "61/min", "endpoint": "https://api.flickr.com/services/rest/"},
        {"rate": "2/s", "endpoint": "https://API.Flickr.com./services/rest/"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        CrawlSettings(**wrong)  # type: ignore[arg-type]


def test_the_key_is_in_nothing_that_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    matches, store = write_matches(tmp_path, numbers(60)), tmp_path / "photos.sqlite"
    echo = {photo_id: failure(105, f"no service for {KEY} {SECRET}") for photo_id in numbers(60)}
    settings = StandInSettings(faults=[fault for fault in FAULTS if fault != "timeout"], fault_rate=0.5)
    tools = real_tools(skip_waits=True)
    with FlickrStandIn(echo, settings) as flickr, pytest.raises(StoppedEarly) as caught:
        crawl(matches, store, CrawlSettings(rate="unlimited", endpoint=flickr.endpoint), tools)
    written = "".join(traceback.format_exception(caught.value)) + caplog.text
    written += "".join(file.read_bytes().decode("latin-1") for file in tmp_path.iterdir())
    assert "an answer that repeats the key or the secret" in written
    assert KEY not in written
    assert SECRET not in written
