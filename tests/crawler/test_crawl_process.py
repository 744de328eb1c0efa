"""The crawl as a process of its own: killed, interrupted and watched at the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagenet_captions.crawler.crawl import CrawlSettings, crawl
from imagenet_captions.crawler.policy import State
from imagenet_captions.crawler.source import answered_photos
from imagenet_captions.crawler.store import read_store
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn, StandInSettings
from tests.command_line import HANGS_AFTER
from tests.crawler.crawl_tools import KEY, SECRET, most_in_a_window, ok, real_tools, write_matches

SCRIPT = """
import logging, sys
from pathlib import Path
from imagenet_captions.crawler.crawl import CrawlSettings, crawl
logging.basicConfig(level=logging.DEBUG)
try:
    crawl(Path(sys.argv[1]), Path(sys.argv[2]), CrawlSettings(rate=sys.argv[3], endpoint=sys.argv[4]))
except KeyboardInterrupt as stop:
    sys.exit(128 + stop.args[0])
"""


@contextmanager
def crawling(matches: Path, store: Path, rate: str, endpoint: str) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, "FLICKR_API_KEY": KEY, "FLICKR_API_SECRET": SECRET}
    command = [sys.executable, "-c", SCRIPT, str(matches), str(store), rate, endpoint]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        try:
            yield run
        finally:
            run.kill()


def wait_for(flickr: FlickrStandIn, requests: int) -> None:
    deadline = time.monotonic() + HANGS_AFTER
    while len(flickr.requests) < requests:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def ids(count: int) -> list[str]:
    return [str(number) for number in range(count)]


@pytest.mark.slow
def test_the_pace_is_kept_at_the_server_over_kills_and_retries(tmp_path: Path) -> None:
    matches, store = write_matches(tmp_path, ids(70)), tmp_path / "photos.sqlite"
    settings = StandInSettings(latency_ms=120, faults=["500", "reset", "comma", "other", "code201"], fault_rate=0.15)
    with FlickrStandIn({photo_id: ok(photo_id) for photo_id in ids(70)}, settings) as flickr:
        for kill_after in (12, 30, 50):
            with crawling(matches, store, "20/s", flickr.endpoint) as run:
                wait_for(flickr, kill_after)
                assert run.poll() is None
                run.kill()
        with crawling(matches, store, "20/s", flickr.endpoint) as run:
            output, _ = run.communicate(timeout=HANGS_AFTER)
    assert run.returncode == 0
    assert "0 left" in output
    assert KEY not in output
    with read_store(store) as reader:
        assert {photo_id: stored.state for photo_id, stored in reader.photos()} == dict.fromkeys(ids(70), State.OK)
    times = [request.time for request in flickr.requests]
    for seconds in (0.5, 1.0, 2.0):
        # A busy machine may deliver one call as late as the next.
        assert most_in_a_window(times, seconds) <= 20 * seconds + 1
    answered = Counter(request.photo_id for request in flickr.requests if request.outcome == "ok")
    assert set(answered) == set(ids(70))
    assert sum(answered.values()) - 70 <= 3  # one for each kill


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_keeps_the_answers_under_way(tmp_path: Path, number: signal.Signals) -> None:
    matches, store = write_matches(tmp_path, ids(30)), tmp_path / "photos.sqlite"
    with FlickrStandIn({photo_id: ok(photo_id) for photo_id in ids(30)}, StandInSettings(latency_ms=150)) as flickr:
        with crawling(matches, store, "40/s", flickr.endpoint) as run:
            wait_for(flickr, 8)
            run.send_signal(number)
            output, _ = run.communicate(timeout=HANGS_AFTER)
        assert run.returncode == 128 + number
        assert "the same command goes on" in output
        asked = {request.photo_id for request in flickr.requests}
        assert set(answered_photos(store).to_pylist()) == asked
        report = crawl(matches, store, CrawlSettings(rate="unlimited", endpoint=flickr.endpoint), real_tools())
    assert report.found == 30 - len(asked)
    assert len(flickr.requests) == 30
