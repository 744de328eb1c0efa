"""An HTTP session with a deadline for the whole call and a limit on the answer's size. Used by `client`.

requests and urllib3 limit the time between two bytes, but not the time of a whole answer nor its unpacked size.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from imagenet_captions.crawler.limits import LARGEST_ANSWER, LARGEST_TRANSFER, PIECE

_GZIP = ("gzip", "x-gzip")

# The headers that are passed on. Others do harm: requests sends cookies back, and urllib3 logs a traceback about a
# header that it cannot read.
_HEADERS = ("Content-Encoding", "Content-Length", "Retry-After", "Transfer-Encoding")

_call = threading.local()  # `deadline` of the call that this thread makes


class UnusableAnswerError(Exception):
    """Raised for an answer that is not read to its end; the text says why.

    It is neither an OSError nor an HTTPException, so that urllib3 and requests do not catch it.
    """


class BoundedSession(requests.Session):
    """A session that reads each answer within `seconds` and up to `LARGEST_ANSWER` bytes.

    It follows no redirects, since the key in a request would go to another host.
    """

    def __init__(self, seconds: float, connections: int) -> None:
        super().__init__()
        self._seconds = seconds
        self.headers["Accept-Encoding"] = "gzip"
        adapter = _Adapter(pool_connections=1, pool_maxsize=connections, max_retries=0)
        self.mount("https://", adapter)
        self.mount("http://", adapter)

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None, so that no redirect is followed."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request and read its whole answer.

        Raises UnusableAnswerError for an answer that takes too long, is too long, or is packed in an unknown way.
        """
        _call.deadline = _Deadline(self._seconds)
        response = super().send(request, **{**kwargs, "stream": True})
        try:
            body = _read_body(response)
        finally:
            response.close()
        response.raw = io.BytesIO(body)
        return response


def _read_body(response: requests.Response) -> bytes:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding in _GZIP:
        pieces = _unpacked(response.raw)
    elif encoding in ("", "identity"):
        pieces = iter(lambda: response.raw.read(PIECE), b"")
    else:
        raise UnusableAnswerError("an answer that is packed in an unknown way")
    body = bytearray()
    for piece in pieces:
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise _too_long()
    return bytes(body)


def _unpacked(packed: Any) -> Iterator[bytes]:
    """Yield the content of a gzip stream in small pieces."""
    unpacker = zlib.decompressobj(wbits=31)
    while piece := packed.read(PIECE):
        while piece and not unpacker.eof:
            yield unpacker.decompress(piece, PIECE)
            piece = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise UnusableAnswerError("half an answer")


def _too_long() -> UnusableAnswerError:
    return UnusableAnswerError(f"an answer of more than {LARGEST_ANSWER >> 20} MB")


class _Deadline:
    """The time at which a call ends, even if its answer is incomplete."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the number of seconds left; raises UnusableAnswerError if none are left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise UnusableAnswerError(f"no whole answer within {self._seconds:g} seconds")
        return left


class _BoundedReader(io.RawIOBase):
    """Reads a socket up to the call's deadline and `LARGEST_TRANSFER` bytes."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket) -> None:
        self._raw, self._socket = raw, connection
        self._patience = connection.gettimeout()  # between two bytes
        self._deadline: _Deadline = _call.deadline
        self._left = LARGEST_TRANSFER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline.left()
        self._socket.settimeout(left if self._patience is None else min(left, self._patience))
        try:
            count = self._raw.readinto(buffer)
        except TimeoutError:
            self._deadline.left()
            raise
        self._left -= count or 0
        if self._left < 0:
            raise _too_long()
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """A response that reads through a `_BoundedReader` and keeps only the headers in `_HEADERS`."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_BoundedReader(self.fp.detach(), sock))

    def begin(self) -> None:
        super().begin()
        needed = http.client.HTTPMessage()
        for name in _HEADERS:
            if name in self.headers:
                needed[name] = self.headers[name]
        self.headers = self.msg = needed


class _BoundedConnection:
    """A base class for connections with bounded answers."""

    response_class = _Response


class _Adapter(HTTPAdapter):
    """An adapter whose connections are bounded, also through a proxy."""

    def get_connection_with_tls_context(
        self,
        request: requests.PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: Any = None,
    ) -> Any:
        pool: Any = super().get_connection_with_tls_context(request, verify, proxies, cert)
        if not issubclass(pool.ConnectionCls, _BoundedConnection):
            pool.ConnectionCls = type("BoundedConnection", (_BoundedConnection, pool.ConnectionCls), {})
        return pool
