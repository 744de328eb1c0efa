"""Call Flickr through flickrapi. No other module imports flickrapi, so that it is easy to replace.

flickrapi has no timeout, hides the HTTP status in its error's text, logs what it sends, and signs every call with
OAuth, which needs a secret and a correct clock. So it gets a session of ours, which keeps the answer and adds the key
after flickrapi has logged the call: public photos need no signature.
"""

from __future__ import annotations

import io
import logging
import threading
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import flickrapi
import requests
from requests.auth import AuthBase

from imagenet_captions.crawler.bounded_http import BoundedSession, UnusableAnswerError
from imagenet_captions.crawler.credentials import Credentials, Scrubber
from imagenet_captions.crawler.limits import CALL_SECONDS, CALLS_AT_ONCE, CONNECT_SECONDS, FLICKR_ENDPOINT, READ_SECONDS
from imagenet_captions.crawler.policy import Attempt
from imagenet_captions.errors import InputError
from imagenet_captions.storage.places import refuse_secrets

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_TALKATIVE = ("flickrapi", "urllib3")  # they log every call, and tracebacks


class FlickrClient:
    """Asks for one photo at a time and returns the answer as it came; safe to use from several threads.

    `timeout` holds the seconds to wait for a connection and for the next byte, `seconds` those for the whole answer.
    """

    def __init__(
        self,
        credentials: Credentials,
        endpoint: str = FLICKR_ENDPOINT,
        timeout: tuple[float, float] = (CONNECT_SECONDS, READ_SECONDS),
        seconds: float = CALL_SECONDS,
    ) -> None:
        self._scrub = Scrubber([credentials.key, credentials.secret])
        api = flickrapi.FlickrAPI("-", "-", format="json", store_token=False, timeout=timeout)
        api.REST_URL = check_endpoint(endpoint)
        api.flickr_oauth.oauth = _KeyInBody(credentials.key)
        self._session = api.flickr_oauth.session = _Session(seconds)
        # A proxy of the environment cannot reach a service on this machine.
        self._session.trust_env = urlsplit(endpoint).hostname not in _THIS_MACHINE
        self._get_info = api.photos.getInfo
        self._levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)

    def get_info(self, photo_id: str) -> Attempt:
        """Ask for a photo once; a fault is described in the attempt, never raised."""
        try:
            self._get_info(photo_id=photo_id)
        except UnusableAnswerError as error:
            return Attempt(failure=str(error))
        except Exception as error:  # noqa: BLE001
            # For an answer that is not HTTP, http.client and urllib3 raise ValueError (a chunk of length -5),
            # OverflowError, AttributeError and more. None of them affects the next call.
            return Attempt(failure=_name(error))
        status, body, retry_after = self._session.latest.answer
        return Attempt(status, self._scrub(body), retry_after)

    def close(self) -> None:
        """Close the connections and let the libraries log again."""
        self._session.close()
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


class _KeyInBody(AuthBase):
    """Adds the key to the body of a request as it leaves."""

    # flickrapi writes this name into its debug log.
    client = SimpleNamespace(client_key="-")

    def __init__(self, key: str) -> None:
        self._parameter = f"&api_key={quote(key)}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.body = str(request.body) + self._parameter
        return request


class _Session(BoundedSession):
    """A session that keeps the answer of each thread's latest call and gives flickrapi an empty one.

    flickrapi would guess the encoding of an error page and log its text, which can take minutes.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds, CALLS_AT_ONCE)
        self.headers["User-Agent"] = f"imagenet-captions/{version('imagenet-captions')}"
        self.latest = threading.local()

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        response = super().send(request, **kwargs)
        self.latest.answer = response.status_code, response.content, response.headers.get("Retry-After")
        shown = requests.Response()
        shown.status_code, shown.raw = 200, io.BytesIO()
        return shown


def check_endpoint(endpoint: str) -> str:
    """Return the endpoint if it is an address of the form http(s)://host[:port]/path; an error never quotes it.

    >>> check_endpoint("http://127.0.0.1:8000/services/rest/")
    'http://127.0.0.1:8000/services/rest/'
    """
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


def _name(error: Exception) -> str:
    """Return the name of the error's class, since its text can hold the whole request."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return type(reason if isinstance(reason, Exception) else error).__name__
