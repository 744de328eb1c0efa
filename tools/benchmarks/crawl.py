"""The crawl beside flickrapi alone, against the project's stand-in in a process of its own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_PHOTOS = 4000
_ROUNDS = 5
_PACE, _SECONDS = 20, 30

_SETUP = """
import json, sys, time
from pathlib import Path
folder, endpoint, count, rate = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
ids = [str(2_000_000_000 + number) for number in range(count)]
"""
_MEASURE = """
cpu, start = time.process_time(), time.perf_counter()
work()
used, took = time.process_time() - cpu, time.perf_counter() - start
(folder / "measured.json").write_text(json.dumps({"cpu_ms": used / count * 1000, "per_second": count / took}))
"""
_OURS = f"""{_SETUP}
import pyarrow as pa, pyarrow.parquet as pq
from imagenet_captions import schema as records
from imagenet_captions.crawler.crawl import CrawlSettings, crawl
matches = folder / "matches.parquet"
columns = {{"image_id": [f"n01440764_{{number}}" for number in range(count)], "wnid": ["n01440764"] * count,
           "photo_id": ids, "url": ids, "detail": [None] * count}}
pq.write_table(pa.table(columns, records.MATCHES), matches)
(folder / "photos.sqlite").unlink(missing_ok=True)
def work():
    report = crawl(matches, folder / "photos.sqlite", CrawlSettings(rate=rate, endpoint=endpoint))
    assert report.left == 0 and report.found + report.not_found + report.private == count
{_MEASURE}"""
_PEER = f"""{_SETUP}
import flickrapi
api = flickrapi.FlickrAPI("k" * 32, "s" * 16, format="parsed-json", store_token=False)
api.REST_URL = endpoint
def work():
    for photo_id in ids:
        try:
            api.photos.getInfo(photo_id=photo_id)
        except flickrapi.FlickrError:
            continue
{_MEASURE}"""


def main(scratch: Path) -> list[dict[str, object]]:
    """Speed without a limit, and the pace that is kept where an answer takes 30 ms."""
    folder = scratch / "crawl"
    folder.mkdir(exist_ok=True)
    return [*_without_limit(folder), *_at_a_pace(folder)]


def _without_limit(folder: Path) -> list[dict[str, object]]:
    with _serving("--synthetic") as endpoint:
        rounds = [
            [_measure(code, folder, endpoint, _PHOTOS, "unlimited") for code in (_OURS, _PEER)] for _ in range(_ROUNDS)
        ]
    ours, peer = ({key: statistics.median(run[side][key] for run in rounds) for key in rounds[0][0]} for side in (0, 1))
    return [
        _row("crawl without a limit, CPU a photo, store included", "cpu_ms", ours, peer, "<= 1.2 ms"),
        _row("crawl without a limit, photos a second", "per_second", ours, peer, ">= 600"),
    ]


def _at_a_pace(folder: Path) -> list[dict[str, object]]:
    log = folder / "requests.jsonl"
    log.unlink(missing_ok=True)
    with _serving("--synthetic", "--latency-ms", "30", "--log", str(log)) as endpoint:
        _measure(_OURS, folder, endpoint, _PACE * _SECONDS, f"{_PACE}/s")
        times = [json.loads(line)["time"] for line in log.read_text(encoding="utf-8").splitlines()]
        one_at_a_time = _measure(_PEER, folder, endpoint, 60, "")
    used = (len(times) - 1) / (times[-1] - times[0])
    over = {seconds: _most(times, seconds) - _PACE * seconds for seconds in (1, 2, 5, 10)}
    return [
        {
            "what": f"crawl at {_PACE}/s where an answer takes 30 ms",
            "ours_per_second": round(used, 2),
            "peer": "flickrapi, one call at a time",
            "peer_per_second": round(one_at_a_time["per_second"], 2),
            "ratio": round(used / _PACE, 4),
            "bar": ">= 0.99 of the pace, never over",
            "most_over_in_a_window": max(over.values()),
        }
    ]


def _row(what: str, key: str, ours: dict[str, float], peer: dict[str, float], bar: str) -> dict[str, object]:
    return {
        "what": what,
        f"ours_{key}": round(ours[key], 3),
        "peer": "flickrapi alone",
        f"peer_{key}": round(peer[key], 3),
        "ratio": round(ours[key] / peer[key], 2),
        "bar": bar,
    }


def _most(times: Sequence[float], seconds: float, grace: float = 0.05) -> int:
    """The largest number of calls in any window of that length, less the grace."""
    return max(sum(1 for later in times if start <= later < start + seconds - grace) for start in times)


@contextmanager
def _serving(*arguments: str) -> Iterator[str]:
    command = [sys.executable, "-m", "imagenet_captions.demo.flickr_stand_in", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().strip() if server.stdout else ""
        finally:
            server.terminate()


def _measure(code: str, folder: Path, endpoint: str, count: int, rate: str) -> dict[str, float]:
    environment = {**os.environ, "FLICKR_API_KEY": "k" * 32}
    subprocess.run([sys.executable, "-c", code, str(folder), endpoint, str(count), rate], check=True, env=environment)
    measured: dict[str, float] = json.loads((folder / "measured.json").read_text(encoding="utf-8"))
    return measured
