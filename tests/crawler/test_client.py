"""The one module that talks to Flickr: what comes back, what never gets out, and answers that would hold up, fill or
break a client: each is one unusable answer, and the next call works.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import socket
import time
import tracemalloc
import zlib

import pytest

from imagenet_captions.crawler.client import Credentials, FlickrClient
from imagenet_captions.crawler.policy import LARGEST_ANSWER, Attempt, State, read_answer
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.errors import InputError
from tests.command_line import HANGS_AFTER
from tests.crawler.crawl_tools import KEY, SECRET, ok
from tests.crawler.hostile_server import HostileServer, answering, chunks, closing, hostile, http

GOOD = json.dumps(ok("7")).encode()
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"


def asking(endpoint: str, seconds: float = 60.0) -> contextlib.closing[FlickrClient]:
    return contextlib.closing(FlickrClient(Credentials(KEY, SECRET), endpoint, (5.0, 5.0), seconds))


def ask(endpoint: str, seconds: float = 60.0) -> Attempt:
    with asking(endpoint, seconds) as client:
        return client.get_info("7")


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhello",
        HEAD + b"Content-Length: 999999999999999999999999\r\n\r\nhello",
        HEAD + b"Content-Length: 5, 7\r\n\r\nhello",
        PACKED + b"\r\nnot gzip",
        PACKED + b"\r\n" + gzip.compress(GOOD, mtime=0)[:-5],
        PACKED.replace(b"gzip", b"br") + b"\r\nhello",
        HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(200)) + b"\r\n" + GOOD,
        HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n" + GOOD,
        b"HTTP/1.1 two OK\r\n\r\n" + GOOD,
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
    ],
)
def test_an_answer_that_is_not_http_is_unusable(answer: bytes) -> None:
    turns = iter([closing(answer), answering(http(GOOD))])
    in_turn = hostile(lambda server, connection: next(turns)(server, connection))
    with in_turn as server, asking(server.endpoint) as client:
        first, second = client.get_info("7"), client.get_info("7")
    verdict = read_answer("7", first, 0.0)
    assert (verdict.state, bool(verdict.reason)) == (State.WAITING, True)
    assert second == Attempt(200, GOOD)


@pytest.mark.parametrize(
    ("head", "drops"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD + b"X: ", b"x"),
        (CHUNKED, b"0"),
    ],
)
def test_an_answer_that_drips_ends_at_the_deadline(head: bytes, drops: bytes) -> None:
    def respond(server: HostileServer, connection: socket.socket) -> None:
        connection.sendall(head)
        server.drip(connection, drops, 0.02)

    start = time.monotonic()
    with hostile(respond) as server:
        attempt = ask(server.endpoint, seconds=0.5)
    assert attempt == Attempt(failure="no whole answer within 0.5 seconds")
    assert time.monotonic() - start < 3


def bomb(megabytes: int) -> bytes:
    """A small answer that unpacks to so many megabytes."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"x") + packer.flush(zlib.Z_FULL_FLUSH)
    megabyte = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return http(head + megabyte * megabytes, "Content-Encoding: gzip")


def test_a_bomb_is_not_unpacked() -> None:
    answer = bomb(2000)
    assert 2_000_000 < len(answer) < 3_000_000
    with hostile(answering(answer)) as server:
        tracemalloc.start()
        try:
            attempt = ask(server.endpoint)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert attempt == Attempt(failure="an answer of more than 8 MB")
    assert peak < 5 * LARGEST_ANSWER


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (HEAD + b"\r\n", bytes(1 << 16)),
        (CHUNKED, b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (CHUNKED + b"0\r\n", b"Trailer: x\r\n" * 1000),
    ],
)
def test_an_answer_without_end_is_left_at_eight_megabytes(head: bytes, more: bytes) -> None:
    taken = []

    def respond(server: HostileServer, connection: socket.socket) -> None:
        connection.sendall(head)
        taken.append(server.flood(connection, more, 20 * LARGEST_ANSWER))

    with hostile(respond) as server:
        assert ask(server.endpoint).failure == "an answer of more than 8 MB"
        deadline = time.monotonic() + HANGS_AFTER
        while not taken and time.monotonic() < deadline:
            time.sleep(0.01)
    assert taken[0] < 2 * LARGEST_ANSWER  # what the system's buffers hold is sent and never read


@pytest.mark.parametrize("packed", [False, True])
def test_the_limit_is_exact(packed: bool) -> None:
    for size, whole in ((LARGEST_ANSWER, True), (LARGEST_ANSWER + 1, False)):
        body = b"x" * size
        answer = http(gzip.compress(body), "Content-Encoding: gzip") if packed else http(body)
        with hostile(answering(answer)) as server:
            attempt = ask(server.endpoint)
        assert attempt == (Attempt(200, body) if whole else Attempt(failure="an answer of more than 8 MB"))


@pytest.mark.parametrize(
    "answer",
    [
        http(GOOD),
        http(gzip.compress(GOOD), "Content-Encoding: gzip"),
        http(gzip.compress(GOOD), "Content-Encoding:  X-GZIP "),
        chunks(GOOD[:1], GOOD[1:30], GOOD[30:]),
        chunks(gzip.compress(GOOD)).replace(b"chunked\r\n", b"chunked\r\nContent-Encoding: gzip\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(GOOD),
    ],
)
def test_every_form_of_a_whole_answer_is_read_and_keeps_its_connection(answer: bytes) -> None:
    with hostile(answering(answer)) as server, asking(server.endpoint) as client:
        assert [client.get_info("7") for _ in range(3)] == [Attempt(200, GOOD)] * 3
        assert (server.connections, len(server.requests)) == (1, 3)


@pytest.mark.parametrize("answer", [HEAD + b"X\x00Y: 1\r\nSet-Cookie: \xff=\xfe\r\n\r\n" + GOOD, CHUNKED + b"-5\r\n"])
def test_no_library_logs_or_warns_before_the_client_is_closed(
    answer: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with hostile(closing(answer)) as server:
        ask(server.endpoint)
    assert {record.name for record in caplog.records if not record.name.startswith("imagenet_captions")} == set()
    assert capfd.readouterr() == ("", "")
    caplog.set_level(logging.DEBUG, "urllib3")
    logging.getLogger("urllib3.connectionpool").debug("another's call")
    assert caplog.messages == ["another's call"]


@pytest.mark.parametrize(
    ("answer", "attempt"),
    [(http(GOOD), Attempt(200, GOOD)), (bomb(32), Attempt(failure="an answer of more than 8 MB"))],
)
def test_a_proxy_is_bounded_too(monkeypatch: pytest.MonkeyPatch, answer: bytes, attempt: Attempt) -> None:
    with hostile(answering(answer)) as server:
        monkeypatch.setenv("http_proxy", server.endpoint.removesuffix("/services/rest/"))
        monkeypatch.setenv("no_proxy", "")
        assert ask("http://flickr.invalid/services/rest/", seconds=2.0) == attempt


def test_the_key_travels_in_the_body_alone_and_the_secret_never() -> None:
    with hostile(answering(http(b"\xff{}"))) as server:
        assert ask(server.endpoint) == Attempt(200, b"\xff{}")
    assert ask(server.endpoint).failure in ("NewConnectionError", "ConnectionError")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert KEY.encode() not in head
    assert f"api_key={KEY}".encode() in body
    assert SECRET.encode() not in server.requests[0]
    assert b"User-Agent: imagenet-captions/" in head


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with FlickrStandIn({"7": ok("7")}) as elsewhere:
        moved = http(b"", f"Location: {elsewhere.endpoint}").replace(b"200 OK", b"307 Moved")
        with hostile(answering(moved)) as server:
            assert ask(server.endpoint).status == 307
        assert elsewhere.requests == []


@pytest.mark.parametrize(
    "endpoint", ["api.flickr.com", "ftp://flickr.com/", "http://me:sesame@flickr.com/", "http://h/?key=sesame"]
)
def test_an_endpoint_that_is_none_is_refused_and_not_shown(endpoint: str) -> None:
    with pytest.raises(InputError, match=r"not an address of the form|secret") as caught:
        FlickrClient(Credentials(KEY), endpoint)
    assert "sesame" not in str(caught.value)
