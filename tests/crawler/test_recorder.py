"""What a crawl writes down: the store, the report and the failures since the last success."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from imagenet_captions.crawler.crawl_settings import CrawlReport
from imagenet_captions.crawler.policy import Failures, State
from imagenet_captions.crawler.recorder import Recorder
from imagenet_captions.crawler.store import Store
from imagenet_captions.storage.progress import progress
from tests.crawler.crawl_tools import World, attempt, ok


def test_failures_are_counted_until_an_answer_comes(tmp_path: Path) -> None:
    world, report = World(lambda photo_id: attempt(ok(photo_id))), CrawlReport(left=3)
    with Store(tmp_path / "s") as store, progress("crawl", 3, "photos") as bar:
        recorder = Recorder(store, report, bar, world.tools())
        recorder.fail("1", "HTTP 500", counts=True)
        recorder.fail("1", "HTTP 500", counts=False)
        recorder.pause(60.0)
        assert recorder.failures_before("1", ever=True) == Failures(2, 2, in_a_row=2, pauses=1)
        assert recorder.failures_before("1", ever=False) == Failures(2, 0, in_a_row=2, pauses=1)
        assert store.moments() == (None, world.now + world.wall_offset + 60.0)
        recorder.keep("2", State.OK, b"{}")
        assert recorder.failures_before("1", ever=True) == Failures(2, 2)
        recorder.set_aside("1", "HTTP 500", counts=True)
        assert recorder.failures_before("1", ever=True) == Failures(0, 3, in_a_row=1)
        recorder.keep("3", State.PRIVATE, b"{}")
        assert set(store.ids([State.OK])) == {"2"}
        assert set(store.ids([State.UNREACHABLE])) == {"1"}
    assert report == CrawlReport(found=1, private=1, unreachable=1, left=1)


def test_a_call_is_stored_with_the_time_of_its_turn(tmp_path: Path) -> None:
    world, report = World(lambda photo_id: attempt(ok(photo_id))), CrawlReport()
    with Store(tmp_path / "s") as store, progress("crawl", 1, "photos") as bar:
        recorder = Recorder(store, report, bar, world.tools())
        recorder.call(None)
        assert store.moments() == (None, None)
        recorder.call(0.5)
        assert store.moments() == (world.now + world.wall_offset - 0.5, None)
    assert report.calls == 2


def test_a_log_gets_a_line_from_time_to_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    world = World(lambda photo_id: attempt(ok(photo_id)))
    with (
        caplog.at_level(logging.INFO, "imagenet_captions"),
        Store(tmp_path / "s") as store,
        progress("crawl", 3, "photos") as bar,
    ):
        bar.disable = True
        recorder = Recorder(store, CrawlReport(left=3), bar, world.tools())
        for photo_id in ("1", "2", "3"):
            world.now += 400.0
            recorder.keep(photo_id, State.NOT_FOUND, b"{}")
    assert caplog.messages[1:] == ["crawl: 0 found, 2 gone, 1 left"]
