"""Call Flickr through flickrapi, within a deadline and a size limit. No other module imports flickrapi.

flickrapi logs what it sends and signs every call, so it posts through a session of ours, which adds the key later and
signs nothing. requests limits neither the time of a whole answer nor its unpacked size, so answers are read below it.
"""

from __future__ import annotations

import html
import http.client
import io
import logging
import re
import socket
import time
import zlib
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import flickrapi
import requests
from requests.adapters import HTTPAdapter

from imagenet_captions.crawler.policy import LARGEST_ANSWER, Attempt
from imagenet_captions.crawler.settings import FLICKR_ENDPOINT
from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import read_text
from imagenet_captions.storage.places import Place, refuse_secrets, require_local

_KEY, _SECRET = "FLICKR_API_KEY", "FLICKR_API_SECRET"
_HELP = f"set {_KEY} and {_SECRET}, or give `key_file` with the lines {_KEY}=… and {_SECRET}=…"

# A shorter text may occur in an answer by chance; Flickr's keys have 32 characters and its secrets 16.
_SHORTEST = 16
_JSON_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})")
_MARKUP = re.compile(r"<[^<>]*>")
_NOT_BARE = re.compile(r"[^0-9A-Za-z]+")
_ROUNDS = 4  # as often as cleaning decodes entities

_TIMEOUT = (10.0, 30.0)  # seconds to open a connection, and between two bytes of an answer
_LARGEST_TRANSFER = LARGEST_ANSWER + (1 << 20)  # bytes on the wire, with status, headers and the framing of chunks
_PIECE = 1 << 16
_TOO_LONG = f"an answer of more than {LARGEST_ANSWER >> 20} MB"
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_TALKATIVE = ("flickrapi", "urllib3")  # they log every call, and tracebacks


@dataclass(frozen=True)
class Credentials:
    """A Flickr key and its secret, which may be empty and is never sent; neither shows in a repr."""

    key: str = field(repr=False)
    secret: str = field(repr=False, default="")


def read_credentials(key_file: Place | None, environment: Mapping[str, str]) -> Credentials:
    """Return the key from a file with FLICKR_API_KEY=… and FLICKR_API_SECRET=…, or else from the environment."""
    values = environment
    if key_file is not None:
        path = require_local(key_file, "the key file", "a key does not travel")
        lines = read_text(path, "the key file").splitlines()
        pairs = (line.strip().removeprefix("export ").partition("=") for line in lines)
        values = {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
    key = values.get(_KEY, "").strip()
    if not key:
        missing = f"the key file {key_file} has no Flickr key" if key_file else "no Flickr key is set"
        raise InputError(f"{missing}; {_HELP}")
    return Credentials(key, values.get(_SECRET, "").strip())


def repeats_secret(body: bytes, credentials: Credentials) -> bool:
    """Return whether an answer holds the key or the secret, in any form that a later stage would decode."""
    text = _JSON_ESCAPE.sub(lambda found: chr(int(found[1], 16)), body.decode("utf-8", "replace"))
    for _ in range(_ROUNDS):
        text = unquote(html.unescape(text))
    forms = [_NOT_BARE.sub("", each) for each in (text, _MARKUP.sub("", text))]
    secrets = [_NOT_BARE.sub("", each) for each in (credentials.key, credentials.secret)]
    return any(len(secret) >= _SHORTEST and secret in form for secret in secrets for form in forms)


class UnusableAnswerError(Exception):
    """Raised for an answer that cannot be used; not an OSError or HTTPException, which urllib3 and requests catch."""


class FlickrClient:
    """Asks for one photo at a time and returns the answer as it came; takes the place of flickrapi's session.

    `timeout` holds the seconds to wait for a connection and for the next byte, `seconds` those for the whole answer
    once the request is sent.
    """

    def __init__(
        self,
        credentials: Credentials,
        endpoint: str,
        timeout: tuple[float, float] = _TIMEOUT,
        seconds: float = 60.0,
    ) -> None:
        api = flickrapi.FlickrAPI("-", "-", format="json", store_token=False, timeout=timeout)
        api.REST_URL = _checked(endpoint)
        api.flickr_oauth.session = self
        self._get_info: Callable[..., Attempt] = api.photos.getInfo
        self._credentials = credentials
        self._adapter = _Adapter(seconds)
        agent = f"imagenet-captions/{version('imagenet-captions')}"
        self._headers = {"User-Agent": agent, "Accept-Encoding": "gzip"}
        self._environment = requests.Session()  # knows its proxies and certificates
        # A proxy of the environment cannot reach a service on this machine.
        self._environment.trust_env = urlsplit(endpoint).hostname not in _THIS_MACHINE
        self._levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def get_info(self, photo_id: str) -> Attempt:
        """Ask for a photo once; a fault is described in the attempt, never raised."""
        try:
            return self._get_info(photo_id=photo_id)
        except UnusableAnswerError as error:
            return Attempt(failure=str(error))
        except Exception as error:  # noqa: BLE001
            # For an answer that is not HTTP, http.client and urllib3 raise ValueError (a chunk of length -5),
            # OverflowError, AttributeError and more. None of them affects the next call. Only the name of the class is
            # kept, since the text can hold the whole request.
            reason = getattr(error.args[0], "reason", None) if error.args else None
            return Attempt(failure=type(reason if isinstance(reason, Exception) else error).__name__)

    def post(self, url: str, data: dict[str, Any], auth: object, timeout: tuple[float, float]) -> Any:
        """Send a call of flickrapi with the key, and return what it takes for a good answer: it holds the attempt."""
        fields = {**data, "api_key": self._credentials.key}
        request = requests.Request("POST", url, headers=self._headers, data=fields).prepare()
        environment: Any = self._environment.merge_environment_settings(url, {}, True, None, None)
        with closing(self._adapter.send(request, timeout=timeout, **environment)) as response:
            body = _read_body(response)
        if repeats_secret(body, self._credentials):
            raise UnusableAnswerError("an answer that repeats the key or the secret")
        attempt = Attempt(response.status_code, body, response.headers.get("Retry-After"))
        return SimpleNamespace(status_code=200, content=attempt)

    def close(self) -> None:
        """Close the connections and let the libraries log again."""
        self._adapter.close()
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


def _read_body(response: requests.Response) -> bytes:
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise UnusableAnswerError("an answer that is packed in an unknown way")
    unpacker = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    body = bytearray()
    while piece := response.raw.read(_PIECE):
        body += unpacker.decompress(piece, LARGEST_ANSWER + 1 - len(body)) if unpacker else piece
        if len(body) > LARGEST_ANSWER:
            raise UnusableAnswerError(_TOO_LONG)
    if unpacker and not unpacker.eof:
        raise UnusableAnswerError("half an answer")
    return bytes(body)


class _Adapter(HTTPAdapter):
    """Makes connections, also through a proxy, whose answers have a deadline and a limit; never retries."""

    def __init__(self, seconds: float) -> None:
        super().__init__(max_retries=0)
        self._seconds = seconds

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if pool.ConnectionCls.response_class is http.client.HTTPResponse:
            pool.ConnectionCls = type("Bounded", (pool.ConnectionCls,), {"response_class": self._answer})
        return pool

    def _answer(self, connection: socket.socket, *args: Any, **kwargs: Any) -> http.client.HTTPResponse:
        answer = http.client.HTTPResponse(connection, *args, **kwargs)
        answer.fp = io.BufferedReader(_BoundedReader(answer.fp.detach(), connection, self._seconds))
        return answer


class _BoundedReader(io.RawIOBase):
    """Reads a socket for so many seconds, and up to `_LARGEST_TRANSFER` bytes."""

    def __init__(self, raw: io.RawIOBase, connection: socket.socket, seconds: float) -> None:
        self._raw, self._socket = raw, connection
        self._patience = connection.gettimeout() or seconds  # between two bytes
        self._seconds, self._end = seconds, time.monotonic() + seconds
        self._left = _LARGEST_TRANSFER

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._end - time.monotonic()
        if left > 0:
            self._socket.settimeout(min(left, self._patience))
            try:
                count = self._raw.readinto(buffer)
            except TimeoutError:
                if time.monotonic() < self._end:
                    raise
            else:
                self._left -= count or 0
                if self._left < 0:
                    raise UnusableAnswerError(_TOO_LONG)
                return count
        raise UnusableAnswerError(f"no whole answer within {self._seconds:g} seconds")

    def close(self) -> None:
        self._raw.close()
        super().close()


def _checked(endpoint: str) -> str:
    """Return the endpoint if it is an address of the form http(s)://host[:port]/path; an error never quotes it."""
    refuse_secrets(endpoint)
    try:
        parts = urlsplit(endpoint)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise InputError(
            f"the endpoint is not an address of the form http(s)://host[:port]/path; give one such as {FLICKR_ENDPOINT}"
        )
    return endpoint
