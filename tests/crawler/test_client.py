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
from collections.abc import Iterator

import pytest

from imagenet_captions.crawler.client import Credentials, FlickrClient
from imagenet_captions.crawler.policy import LARGEST_ANSWER, Attempt, State, read_answer
from imagenet_captions.demo.flickr_stand_in import FAULTS, FlickrStandIn, StandInSettings, failure
from imagenet_captions.errors import InputError
from tests.command_line import HANGS_AFTER
from tests.crawler.crawl_tools import KEY, SECRET, ok
from tests.crawler.hostile_server import HostileServer, answering, chunks, closing, hostile, http

GOOD = json.dumps(ok("7")).encode()
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"


@contextlib.contextmanager
def asking(endpoint: str, seconds: float = 60.0, patience: float = 5.0, key: str = KEY) -> Iterator[FlickrClient]:
    client = FlickrClient(Credentials(key, SECRET), endpoint, (patience, patience), seconds)
    try:
        yield client
    finally:
        client.close()


def ask(endpoint: str, seconds: float = 60.0, patience: float = 5.0, photo_id: str = "7", key: str = KEY) -> Attempt:
    with asking(endpoint, seconds, patience, key) as client:
        return client.get_info(photo_id)


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"-1\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffffffffff\r\nhello\r\n",
        CHUNKED + b"zz\r\nhello\r\n",
        CHUNKED + b"\r\n\r\n",
        CHUNKED + b"5" * 100_000,
        CHUNKED + b"5\r\nhello",
        HEAD + b"Content-Length: -5\r\n\r\nhello",
        HEAD + b"Content-Length: five\r\n\r\nhello",
        HEAD + b"Content-Length: 999999999999999999999999\r\n\r\nhello",
        HEAD + b"Content-Length: 5, 7\r\n\r\nhello",
        PACKED + b"\r\nnot gzip",
        PACKED + b"\r\n" + gzip.compress(GOOD, mtime=0)[:-5],
        PACKED + b"\r\n" + gzip.compress(GOOD, mtime=0)[:20] + b"\xff" * 40,
        PACKED + b"\r\n",
        PACKED + b"\r\n" + gzip.compress(GOOD[:20]) + gzip.compress(GOOD[20:]),
        PACKED.replace(b"gzip", b"gzip, gzip") + b"\r\n" + gzip.compress(gzip.compress(GOOD, mtime=0)),
        PACKED.replace(b"gzip", b"br") + b"\r\nhello",
        PACKED.replace(b"gzip", b"deflate") + b"\r\n" + zlib.compress(GOOD),
        HEAD + b"".join(b"X-%d: 1\r\n" % number for number in range(200)) + b"\r\n" + GOOD,
        HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n" + GOOD,
        b"HTTP/9.9 200 OK\r\n\r\n" + GOOD,
        b"HTTP/1.1 two OK\r\n\r\n" + GOOD,
        b"HTTP/1.1 99999 OK\r\n\r\n" + GOOD,
        b"HTTP/1.1\r\n\r\n" + GOOD,
        b"\x00\xff\xfe\r\n\r\n",
        b"\r\n" * 10,
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: http://[\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\r\n\r\n",
        b"HTTP/1.1 407 Proxy\r\nProxy-Authenticate: \xff\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5,
    ],
)
def test_an_answer_that_is_not_http_is_unusable(answer: bytes) -> None:
    turns = iter([closing(answer), answering(http(GOOD))])
    in_turn = hostile(lambda server, connection: next(turns)(server, connection))
    with in_turn as server, asking(server.endpoint) as client:
        first, second = client.get_info("7"), client.get_info("7")
    assert read_answer("7", first).state is State.WAITING
    assert read_answer("7", first).reason
    assert second == Attempt(200, GOOD)


@pytest.mark.parametrize(
    "error", [ValueError, OverflowError, AttributeError, TypeError, RecursionError, zlib.error, KeyError, EOFError]
)
def test_whatever_the_library_raises_is_an_unusable_answer(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error(KEY)

    with hostile(answering(http(GOOD))) as server, asking(server.endpoint) as client:
        monkeypatch.setattr("http.client.HTTPResponse.begin", fail)
        assert client.get_info("7") == Attempt(failure=error.__name__)


@pytest.mark.parametrize(
    ("head", "drops"),
    [
        (b"", b"HTTP/1.1 200 OK"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD, b"X-Name: value\r\n"),
        (HEAD + b"X: ", b"x"),
        (HEAD + b"\r\n", b"x"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED, b"0"),
        (CHUNKED + b"0\r\n", b"Trailer: x\r\n"),
        (CHUNKED + b"-1\r\n", b"x"),
        (PACKED + b"\r\n" + gzip.compress(b"", mtime=0)[:10], b"\x00\x00\x00\xff\xff"),
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


def packed_zeros() -> tuple[bytes, bytes]:
    """The beginning of a gzip stream, and what adds a megabyte to it however often it comes."""
    packer = zlib.compressobj(9, wbits=31)
    head = packer.compress(b"x") + packer.flush(zlib.Z_FULL_FLUSH)
    return head, packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)


def bomb(megabytes: int) -> bytes:
    head, megabyte = packed_zeros()
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
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", bytes(1 << 16)),
        (CHUNKED, b"10000\r\n" + bytes(1 << 16) + b"\r\n"),
        (CHUNKED + b"-1\r\n", bytes(1 << 16)),
        (CHUNKED + b"0\r\n", b"Trailer: x\r\n" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" * 1000),
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
        http(GOOD, "Content-Encoding: identity"),
        http(gzip.compress(GOOD), "Content-Encoding: gzip"),
        http(gzip.compress(GOOD), "Content-Encoding:  X-GZIP "),
        http(gzip.compress(GOOD) + b"more", "Content-Encoding: gzip"),
        chunks(GOOD),
        chunks(GOOD[:1], GOOD[1:30], GOOD[30:]),
        chunks(gzip.compress(GOOD)).replace(b"chunked\r\n", b"chunked\r\nContent-Encoding: gzip\r\n"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + http(GOOD),
    ],
)
def test_every_form_of_a_whole_answer_is_read_and_keeps_its_connection(answer: bytes) -> None:
    with hostile(answering(answer)) as server, asking(server.endpoint) as client:
        assert [client.get_info("7") for _ in range(3)] == [Attempt(200, GOOD)] * 3
        assert (server.connections, len(server.requests)) == (1, 3)


MALFORMED = [
    HEAD + b"no colon here\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD,
    HEAD + b" leading blank\r\n\r\n" + GOOD,
    HEAD + b": no name\r\n\r\n" + GOOD,
    HEAD + b"X\x00Y: 1\r\nSet-Cookie: \xff=\xfe; expires=never\r\n\r\n" + GOOD,
    HEAD + b"Content-Type: multipart/mixed\r\nContent-Type: \xff\r\n\r\n" + GOOD,
]


@pytest.mark.parametrize("answer", [*MALFORMED, CHUNKED + b"-5\r\n", b"HTTP/1.1 500 No\r\n\r\n" + b"%" * 1000])
def test_no_library_logs_or_warns(
    answer: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with hostile(closing(answer)) as server:
        read_answer("7", ask(server.endpoint))
    assert {record.name for record in caplog.records if not record.name.startswith("imagenet_captions")} == set()
    assert capfd.readouterr() == ("", "")


def test_the_libraries_log_again_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "urllib3")
    with hostile(answering(http(GOOD))) as server:
        ask(server.endpoint)
    logging.getLogger("urllib3.connectionpool").debug("another's call")
    assert caplog.messages == ["another's call"]


def through_a_proxy(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """Ask a service that has a name through a proxy of the environment, which answers by itself."""
    with hostile(answering(answer)) as server:
        monkeypatch.setenv("http_proxy", server.endpoint.removesuffix("/services/rest/"))
        monkeypatch.setenv("no_proxy", "")
        return ask("http://flickr.invalid/services/rest/", seconds=2.0)


def test_a_proxy_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert through_a_proxy(http(GOOD), monkeypatch) == Attempt(200, GOOD)
    assert through_a_proxy(bomb(32), monkeypatch) == Attempt(failure="an answer of more than 8 MB")
    assert read_answer("7", through_a_proxy(CHUNKED + b"-5\r\n", monkeypatch)).state is State.WAITING


def test_the_body_comes_back_byte_for_byte() -> None:
    answer = ok("7", title={"_content": "Füchse im Schnee 🦊"})
    with FlickrStandIn({"7": answer}) as flickr:
        assert ask(flickr.endpoint) == Attempt(200, json.dumps(answer, ensure_ascii=False).encode())
        assert [(request.photo_id, request.outcome) for request in flickr.requests] == [("7", "ok")]


def test_a_dead_host_is_told() -> None:
    with FlickrStandIn({}) as flickr:
        pass
    assert ask(flickr.endpoint).failure in ("NewConnectionError", "ConnectionError")


def test_the_key_travels_in_the_body_alone_and_the_secret_never() -> None:
    with hostile(answering(http(b"{}"))) as server:
        assert ask(server.endpoint) == Attempt(200, b"{}")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert KEY.encode() not in head
    assert f"api_key={KEY}".encode() in body
    assert SECRET.encode() not in server.requests[0]
    assert b"User-Agent: imagenet-captions/" in head


def test_an_answer_that_repeats_the_key_is_scrubbed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    page = http(f"your key {KEY} and secret {SECRET}".encode()).replace(b"200 OK", b"403 No")
    with hostile(answering(page)) as server:
        assert ask(server.endpoint) == Attempt(403, b"your key [removed] and secret [removed]")
    assert KEY not in caplog.text


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with FlickrStandIn({"7": ok("7")}) as elsewhere:
        moved = http(b"", f"Location: {elsewhere.endpoint}").replace(b"200 OK", b"307 Moved")
        with hostile(answering(moved)) as server:
            assert ask(server.endpoint).status == 307
        assert elsewhere.requests == []


def test_no_log_holds_the_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for fault in FAULTS:
        settings = StandInSettings(faults=[fault], fault_rate=1.0)
        with FlickrStandIn({"7": ok("7")}, settings) as flickr:
            client = FlickrClient(Credentials(KEY, SECRET), flickr.endpoint, (0.3, 0.3))
            caplog.set_level(logging.DEBUG, "flickrapi")
            attempt = client.get_info("7")
            client.close()
        assert KEY not in repr(attempt)
    assert "Calling" in caplog.text
    assert KEY not in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "api.flickr.com",
        "ftp://flickr.com/",
        "http://",
        "http://me:sesame@flickr.com/",
        "http://h:99999/",
        "http://h/?key=sesame",
        "http://h/%3Fkey=sesame",
        "sesame@flickr.com",
    ],
)
def test_an_endpoint_that_is_none_is_refused_and_not_shown(endpoint: str) -> None:
    with pytest.raises(InputError, match=r"not an address of the form|secret") as caught:
        FlickrClient(Credentials(KEY), endpoint)
    assert "sesame" not in str(caught.value)


def test_the_stand_in_answers_as_flickr_does() -> None:
    with pytest.raises(InputError, match=r"a fault must be one of .*, not 'nonsense'"):
        StandInSettings(faults=["nonsense"])
    with FlickrStandIn({"7": failure(2, "Permission denied")}, StandInSettings(synthetic=True)) as flickr:
        assert read_answer("7", ask(flickr.endpoint, photo_id="7")).state is State.PRIVATE
        answers = [
            read_answer(str(number), ask(flickr.endpoint, photo_id=str(number))).state for number in range(100, 160)
        ]
    assert {State.OK, State.NOT_FOUND} <= set(answers)


def test_the_stand_in_counts_to_its_limit() -> None:
    with FlickrStandIn({"7": ok("7")}, StandInSettings(max_per_second=3)) as flickr:
        assert [ask(flickr.endpoint).status for _ in range(5)] == [200, 200, 200, 429, 429]
