"""A stand-in for Flickr's REST service on 127.0.0.1, with every fault that the real one has shown.

    python -m imagenet_captions.demo.flickr_stand_in --photos photos.json --faults 429,500,reset --fault-rate 0.3

It answers flickr.photos.getInfo from a table, prints its endpoint when it is ready, and keeps every request. The key
`bad` is refused as Flickr refuses a wrong key. The demo and the tests use it.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from imagenet_captions.errors import InputError, quoted


def failure(code: int, message: str) -> dict[str, Any]:
    """Return the body of a refusal, which Flickr sends with HTTP 200."""
    return {"stat": "fail", "code": code, "message": message}


_SORRY = "Sorry, the Flickr API service is not currently available."
_PAGE_429 = (
    b"<html><body><h1>429 Too Many Requests</h1> "
    b"You have sent too many requests in a given amount of time.</body></html>"
)
_PAGE = b"<html><body>Our servers are having a massage.</body></html>"
_PAGES = {
    "429": (429, _PAGE_429),
    "500": (500, b"busy"),
    "503": (503, b"busy"),
    "html": (200, _PAGE),
    "html429": (200, _PAGE_429),
    "comma": (200, json.dumps(failure(201, _SORRY)).encode() + b","),
}
_CODES = {"code0": _SORRY, "code105": "Service fault", "code106": "Service fault", "code201": _SORRY}
FAULTS = (*_PAGES, *_CODES, "reset", "timeout", "truncate", "other", "nostat")


@dataclass(frozen=True)
class StandInSettings:
    """Which faults happen, how often, and how slow the service is."""

    faults: Sequence[str] = ()
    fault_rate: float = 0.0  # of the requests, drawn at random
    first_failures: int = 0  # the first so many requests for every photo fail, whatever the rate
    retry_after: str | None = None  # header sent with 429 and 503
    latency_ms: float = 0.0
    seed: int = 0
    synthetic: bool = False  # make answers up for photos that are not in the table
    hang_seconds: float = 60.0  # how long the fault `timeout` keeps a caller waiting

    def __post_init__(self) -> None:
        """Refuse unknown faults."""
        for fault in self.faults:
            if fault not in FAULTS:
                raise InputError(f"a fault must be one of {', '.join(FAULTS)}, not {quoted(fault)}")


@dataclass(frozen=True)
class Request:
    """A request as the server saw it; `time` is the Unix time of its arrival."""

    time: float
    photo_id: str
    outcome: str  # ok, code1, …, or the name of a fault


class FlickrStandIn(ExitStack):
    """The stand-in in a thread of this process."""

    def __init__(
        self, photos: Mapping[str, Mapping[str, Any]], settings: StandInSettings | None = None, log: Path | None = None
    ) -> None:
        super().__init__()
        self.photos = dict(photos)  # photo id → whole answer; may be changed while serving
        self.settings = settings or StandInSettings()
        self.requests: list[Request] = []
        self.stopping = threading.Event()
        self._random = random.Random(self.settings.seed)
        self._seen = Counter[str]()
        self._mutex = threading.Lock()
        self._log = self.enter_context(log.open("a", encoding="utf-8", buffering=1)) if log else None
        self._server = self.enter_context(_Server(("127.0.0.1", 0), partial(_Handler, self)))
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}/services/rest/"

    def __enter__(self) -> FlickrStandIn:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.callback(self._server.shutdown)
        self.callback(self.stopping.set)
        return self

    def plan(self, parameters: Mapping[str, str], arrived: float) -> tuple[str, dict[str, Any]]:
        """Choose the answer, and keep the request: return the name of a fault or an outcome, and the answer."""
        photo_id = parameters.get("photo_id", "")
        with self._mutex:
            self._seen[photo_id] += 1
            fault, answer, settings = "", self._answer(parameters, photo_id), self.settings
            first = self._seen[photo_id] <= settings.first_failures
            if settings.faults and (first or self._random.random() < settings.fault_rate):
                fault = self._random.choice(settings.faults)
            outcome = fault or (f"code{answer['code']}" if answer["stat"] == "fail" else "ok")
            self.requests.append(Request(arrived, photo_id, outcome))
            if self._log:
                self._log.write(json.dumps(asdict(self.requests[-1])) + "\n")
        return fault, answer

    def _answer(self, parameters: Mapping[str, str], photo_id: str) -> dict[str, Any]:
        if parameters.get("method") != "flickr.photos.getInfo":
            return failure(112, "Method not found")
        if parameters.get("api_key", "bad") == "bad":
            return failure(100, "Invalid API Key (Key has invalid format)")
        if photo_id in self.photos:
            return dict(self.photos[photo_id])
        if self.settings.synthetic and photo_id.isascii() and photo_id.isdigit():
            return synthetic_answer(photo_id)
        return failure(1, f'Photo "{photo_id[:40]}" not found (invalid ID)')


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that went away in the middle of an answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # an answer leaves in one packet
    disable_nagle_algorithm = True

    def __init__(self, flickr: FlickrStandIn, *args: Any) -> None:
        self.flickr = flickr
        super().__init__(*args)

    def do_POST(self) -> None:  # flickrapi posts
        arrived, settings = time.time(), self.flickr.settings
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parameters = dict(parse_qsl(body.decode("utf-8", "replace")))
        if settings.latency_ms:
            self.flickr.stopping.wait(settings.latency_ms / 1000)
        fault, answer = self.flickr.plan(parameters, arrived)
        photo_id = parameters.get("photo_id", "")
        if fault in _PAGES:
            self._send(*_PAGES[fault], "text/html")
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault == "timeout":
            self.flickr.stopping.wait(settings.hang_seconds)
            self.close_connection = True
        elif fault == "truncate":
            self._send(200, b'{"photo":{"id":"1","title":{"_con', "application/json", length=4096)
            self.close_connection = True
        else:
            if fault in _CODES:
                answer = failure(int(fault.removeprefix("code")), _CODES[fault])
            elif fault == "other":
                answer = {"photo": {"id": f"{photo_id}0"}, "stat": "ok"}
            elif fault == "nostat":
                answer = {"photo": {"id": photo_id}}
            self._send(200, json.dumps(answer, ensure_ascii=False).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(length or len(body)))
        if status in (429, 503) and self.flickr.settings.retry_after is not None:
            self.send_header("Retry-After", self.flickr.settings.retry_after)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing to stderr; the stand-in keeps the requests."""


@cache
def _sample() -> list[dict[str, Any]]:
    photos = json.loads((Path(__file__).parent / "sample" / "photos.json").read_text(encoding="utf-8"))
    return [answer for answer in photos.values() if answer.get("code") in (None, 1, 2)]


def synthetic_answer(photo_id: str) -> dict[str, Any]:
    """Return an answer of the sample, with this id; one in twenty is not found, one in forty is private."""
    answer = _sample()[int(photo_id) % len(_sample())]
    return {**answer, "photo": {**answer["photo"], "id": photo_id}} if "photo" in answer else answer


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A stand-in for Flickr's REST service on 127.0.0.1.")
    parser.add_argument("--photos", type=Path, help="JSON object: photo id → answer as Flickr gives it")
    parser.add_argument("--log", type=Path, help="file that gets one JSON line a request")
    settings = parser.add_argument_group("settings")
    settings.add_argument("--faults", type=lambda text: text.split(","), default=(), help=f"some of {','.join(FAULTS)}")
    settings.add_argument("--fault-rate", type=float, default=0.1)
    settings.add_argument("--latency-ms", type=float, default=0.0)
    settings.add_argument("--synthetic", action="store_true", help="make answers up for unknown photos")
    given = vars(parser.parse_args(arguments))
    file, log = given.pop("photos"), given.pop("log")
    photos = json.loads(file.read_text(encoding="utf-8")) if file else {}
    with FlickrStandIn(photos, StandInSettings(**given), log) as flickr, suppress(KeyboardInterrupt):
        print(flickr.endpoint, flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    main()
