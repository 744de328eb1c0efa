"""The one module that talks to Flickr, against the stand-in: what comes back, and what never gets out."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable

import pytest

from imagenet_captions.crawler.client import Credentials, FlickrClient
from imagenet_captions.crawler.policy import Attempt, State, read_answer
from imagenet_captions.demo.flickr_stand_in import FAULTS, FlickrStandIn, StandInSettings, failure
from imagenet_captions.errors import InputError
from tests.crawler.crawl_tools import KEY, SECRET, ok


def ask(flickr: FlickrStandIn, photo_id: str = "7", key: str = KEY, timeout: float = 5.0) -> Attempt:
    client = FlickrClient(Credentials(key, SECRET), flickr.endpoint, (timeout, timeout))
    try:
        return client.get_info(photo_id)
    finally:
        client.close()


def test_the_body_comes_back_byte_for_byte() -> None:
    answer = ok("7", title={"_content": "Füchse im Schnee 🦊"})
    with FlickrStandIn({"7": answer}) as flickr:
        assert ask(flickr) == Attempt(200, json.dumps(answer, ensure_ascii=False).encode())
        assert [(request.photo_id, request.outcome) for request in flickr.requests] == [("7", "ok")]


def test_ids_beyond_32_bits_and_odd_ones_arrive_whole() -> None:
    with FlickrStandIn({}) as flickr:
        for photo_id in ("14000000000000", "0007", "a&b=c d", "é"):
            ask(flickr, photo_id)
        assert [request.photo_id for request in flickr.requests] == ["14000000000000", "0007", "a&b=c d", "é"]


@pytest.mark.parametrize(
    ("fault", "status", "failures", "state"),
    [
        ("429", 429, {""}, State.BUSY),
        ("500", 500, {""}, State.WAITING),
        ("503", 503, {""}, State.BUSY),  # with a Retry-After
        ("reset", None, {"ProtocolError", "ConnectionError"}, State.WAITING),
        ("timeout", None, {"ReadTimeout"}, State.WAITING),
        ("truncate", None, {"ProtocolError"}, State.WAITING),
        ("html", 200, {""}, State.WAITING),
        ("html429", 200, {""}, State.BUSY),
        ("comma", 200, {""}, State.WAITING),
        ("other", 200, {""}, State.WAITING),
        ("nostat", 200, {""}, State.WAITING),
        ("code0", 200, {""}, State.WAITING),
        ("code105", 200, {""}, State.WAITING),
        ("code106", 200, {""}, State.WAITING),
        ("code201", 200, {""}, State.WAITING),
    ],
)
def test_every_fault_is_told_and_none_is_raised(
    fault: str, status: int | None, failures: set[str], state: State
) -> None:
    settings = StandInSettings(faults=[fault], fault_rate=1.0, retry_after="2")
    with FlickrStandIn({"7": ok("7")}, settings) as flickr:
        attempt = ask(flickr, timeout=0.5)
    assert attempt.status == status
    assert attempt.failure in failures
    assert read_answer("7", attempt).state is state
    assert attempt.retry_after == ("2" if fault in ("429", "503") else None)


def test_the_table_of_faults_is_complete() -> None:
    told = test_every_fault_is_told_and_none_is_raised.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {row[0] for row in told} == set(FAULTS)


def test_a_dead_host_is_told() -> None:
    with FlickrStandIn({}) as flickr:
        pass
    assert ask(flickr).failure in ("NewConnectionError", "ConnectionError")


def test_a_bad_key_is_refused_by_the_host() -> None:
    with FlickrStandIn({"7": ok("7")}) as flickr:
        assert read_answer("7", ask(flickr, key="bad")).state is State.REFUSED


def test_several_threads_share_a_client_without_mixing_answers() -> None:
    long = {"_content": "x" * 300_000}  # so that answers arrive while others do
    photos = {str(number): ok(str(number), description=long) for number in range(200)}
    settings = StandInSettings(latency_ms=2, faults=["500", "reset", "truncate"], fault_rate=0.2)
    wrong = []

    def work(start: int) -> None:
        for number in range(start, 200, 8):
            attempt = client.get_info(str(number))
            if attempt.status == 200 and read_answer(str(number), attempt).state is not State.OK:
                wrong.append((number, attempt))

    with FlickrStandIn(photos, settings) as flickr:
        client = FlickrClient(Credentials(KEY), flickr.endpoint)
        threads = [threading.Thread(target=work, args=(start,)) for start in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
    assert not wrong
    assert len(flickr.requests) == 200


def raw_server(respond: Callable[[bytes], bytes]) -> tuple[str, list[bytes]]:
    """Serve one request on a bare socket: what it got, and what it gives back for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    got: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            received = b""
            while KEY.encode() not in received:
                received += connection.recv(65536)
            got.append(received)
            connection.sendall(respond(received))

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}/services/rest/", got


def test_the_key_travels_in_the_body_alone_and_the_secret_never() -> None:
    endpoint, got = raw_server(lambda received: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    client = FlickrClient(Credentials(KEY, SECRET), endpoint)
    assert client.get_info("7") == Attempt(200, b"{}")
    client.close()
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert KEY.encode() not in head
    assert f"api_key={KEY}".encode() in body
    assert SECRET.encode() not in got[0]
    assert b"User-Agent: imagenet-captions/" in head


def test_an_answer_that_repeats_the_key_is_scrubbed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    page = f"your key {KEY} and secret {SECRET}".encode()
    endpoint, _ = raw_server(lambda _: b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n" % len(page) + page)
    client = FlickrClient(Credentials(KEY, SECRET), endpoint)
    assert client.get_info("7") == Attempt(403, b"your key [removed] and secret [removed]")
    client.close()
    assert KEY not in caplog.text


def test_a_redirect_is_not_followed_with_the_key() -> None:
    with FlickrStandIn({"7": ok("7")}) as elsewhere:
        head = f"HTTP/1.1 307 Moved\r\nLocation: {elsewhere.endpoint}\r\nContent-Length: 0\r\n\r\n"
        endpoint, _ = raw_server(lambda _: head.encode())
        client = FlickrClient(Credentials(KEY), endpoint)
        assert client.get_info("7").status == 307
        client.close()
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
        assert read_answer("7", ask(flickr, "7")).state is State.PRIVATE
        answers = [read_answer(str(number), ask(flickr, str(number))).state for number in range(100, 160)]
    assert {State.OK, State.NOT_FOUND} <= set(answers)


def test_the_stand_in_counts_to_its_limit() -> None:
    with FlickrStandIn({"7": ok("7")}, StandInSettings(max_per_second=3)) as flickr:
        assert [ask(flickr).status for _ in range(5)] == [200, 200, 200, 429, 429]
