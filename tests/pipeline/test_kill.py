"""A build killed at twenty moments, in every stage, ends as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn, StandInSettings
from tests.chain import answerable_photos, build_arguments, dataset_tables
from tests.command_line import CLI, ENVIRONMENT, succeed

FAULTS = ("429", "500", "503", "reset", "truncate", "html", "comma", "other", "nostat", "code0", "code105", "code201")
# Seconds after a stage has begun, for each of its kills.
MOMENTS = {
    "match": (0.0, 0.01, 0.02, 0.03, 0.04),
    "crawl": (0.05, 0.1, 0.1, 0.15, 0.2),
    "clean": (0.0, 0.05, 0.1, 0.2, 0.3),
    "package": (0.0, 0.02, 0.04, 0.06, 0.08),
}


def killed_alive(arguments: list[str], stage: str, delay: float) -> bool:
    """Start a build, and SIGKILL it and its workers `delay` seconds after it has begun a stage; False if too late."""
    with subprocess.Popen(
        [*CLI, *arguments], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip() == f"{stage} ...":
                break
        time.sleep(delay)
        if process.poll() is not None:
            return False
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    with FlickrStandIn(answerable_photos()) as flickr:
        succeed(*build_arguments(tmp_path / "unbroken", flickr.endpoint))
    out, work = tmp_path / "killed", tmp_path / "killed.work"
    settings = StandInSettings(faults=FAULTS, fault_rate=0.3, latency_ms=5, seed=1)
    with FlickrStandIn(answerable_photos(), settings) as flickr:
        arguments = build_arguments(out, flickr.endpoint)
        kills = 0
        for stage, delays in MOMENTS.items():
            for delay in delays:
                for sooner in range(6):
                    # A stage that a kill came too late for is run again, and killed sooner.
                    (work / f"{stage}.done.json").unlink(missing_ok=True)
                    if killed_alive(arguments, stage, delay / 2**sooner):
                        kills += 1
                        break
        assert kills == 20
        succeed(*arguments)
    killed, whole = dataset_tables(out), dataset_tables(tmp_path / "unbroken")
    assert killed.keys() == whole.keys()
    for name in whole:
        assert killed[name].equals(whole[name]), name
    answered = Counter(request.photo_id for request in flickr.requests if request.outcome in ("ok", "code1", "code2"))
    assert len(answered) >= 30
    twice = sum(count - 1 for count in answered.values())
    assert twice <= len(MOMENTS["crawl"])  # the call under way
    assert max(answered.values()) <= 1 + len(MOMENTS["crawl"])
    assert list(tmp_path.rglob("*.partial")) == []
