"""The stand-in as a program: endpoint in one line, answers, a log of every request."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from tests.crawler.crawl_tools import ok


def call(endpoint: str, **parameters: str) -> Any:
    query = urlencode({"method": "flickr.photos.getInfo", "api_key": "k", "format": "json", **parameters})
    with build_opener(ProxyHandler({})).open(endpoint, query.encode()) as response:
        return json.loads(response.read())


def test_the_program(tmp_path: Path) -> None:
    photos, log = tmp_path / "photos.json", tmp_path / "log.jsonl"
    photos.write_text(json.dumps({"7": ok("7")}))
    module = "imagenet_captions.demo.flickr_stand_in"
    command = [sys.executable, "-m", module, "--photos", str(photos), "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().strip()
        try:
            assert call(endpoint, photo_id="7") == ok("7")
            assert call(endpoint, photo_id="8")["code"] == 1
            assert call(endpoint, photo_id="7", api_key="bad")["code"] == 100
            assert call(endpoint, photo_id="7", method="flickr.test.echo")["code"] == 112
        finally:
            server.terminate()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    outcomes = [("7", "ok"), ("8", "code1"), ("7", "code100"), ("7", "code112")]
    assert [(line["photo_id"], line["outcome"]) for line in lines] == outcomes
    assert sorted(line["time"] for line in lines) == [line["time"] for line in lines]
