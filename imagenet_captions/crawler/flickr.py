"""One call to Flickr, through flickrapi: the only module that knows it, so that it can be replaced in an hour.

flickrapi has no timeout, hides the HTTP status in its error's text, signs every call with OAuth (which needs a secret
and a clock that is right) and logs what it sends. So it gets a session of ours that remembers the response, and adds
the key by itself, after flickrapi has logged the call: photos that everyone may see need no signature.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import flickrapi
import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase

from imagenet_captions.crawler.crawl_settings import FLICKR_ENDPOINT
from imagenet_captions.crawler.credentials import Credentials
from imagenet_captions.crawler.policy import Attempt
from imagenet_captions.errors import InputError
from imagenet_captions.storage.places import refuse_secrets

_CONNECTIONS = 16
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")

# Shorter ones stand in an answer by chance; Flickr's keys have 32 characters and its secrets 16.
_SHORTEST_SCRUBBED = 16


class FlickrClient:
    """Asks for one photo at a time and says exactly what came back; safe to use from several threads."""

    def __init__(
        self,
        credentials: Credentials,
        endpoint: str = FLICKR_ENDPOINT,
        timeout: tuple[float, float] = (10.0, 30.0),
    ) -> None:
        self._secrets = [
            text.encode() for text in (credentials.key, credentials.secret) if len(text) >= _SHORTEST_SCRUBBED
        ]
        self._latest = threading.local()
        logging.getLogger("flickrapi").setLevel(logging.WARNING)  # it logs every call as INFO
        self._api = flickrapi.FlickrAPI("-", "-", format="json", store_token=False, timeout=timeout)
        self._api.REST_URL = check_endpoint(endpoint)
        self._api.flickr_oauth.oauth = _KeyInBody(credentials.key)
        self._api.flickr_oauth.session = _session(self._remember)
        # A proxy of the environment cannot reach a service on this machine.
        self._api.flickr_oauth.session.trust_env = urlsplit(endpoint).hostname not in _THIS_MACHINE
        self._api.flickr_oauth.log = logging.Logger("silent", level=logging.CRITICAL + 1)
        self._get_info = self._api.photos.getInfo

    def get_info(self, photo_id: str) -> Attempt:
        """Ask for a photo once; whatever goes wrong is told in the attempt, never raised."""
        self._latest.response = None
        try:
            self._get_info(photo_id=photo_id)
        except flickrapi.FlickrError:
            pass  # it stands for a status other than 200, which the response tells better
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return Attempt(failure=_name(error))
        response = self._latest.response
        body = response.content
        for secret in self._secrets:
            if secret in body:
                body = body.replace(secret, b"[removed]")
        return Attempt(response.status_code, body, response.headers.get("Retry-After"))

    def close(self) -> None:
        """Close the connections."""
        self._api.flickr_oauth.session.close()

    def _remember(self, response: requests.Response, **_: Any) -> None:
        self._latest.response = response


class _KeyInBody(AuthBase):
    """Adds the key to the body of a request as it leaves."""

    # flickrapi writes this name into its debug log.
    client = SimpleNamespace(client_key="-")

    def __init__(self, key: str) -> None:
        self._parameter = f"&api_key={quote(key)}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.body = str(request.body) + self._parameter
        return request


class _Session(requests.Session):
    """A session that follows no redirect: the key would go to another host with it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _session(remember: Callable[..., None]) -> requests.Session:
    session = _Session()
    session.headers["User-Agent"] = f"imagenet-captions/{version('imagenet-captions')}"
    session.hooks["response"].append(remember)
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


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
    """A word for what went wrong; the text of such an error can hold the whole request."""
    cause = error.args[0] if error.args else None
    return type(getattr(cause, "reason", None) or error).__name__
