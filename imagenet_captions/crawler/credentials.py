"""Read the Flickr key, and keep it out of everything that is written."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from imagenet_captions.crawler.policy import parse_body
from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.places import Place, require_local

_KEY, _SECRET = "FLICKR_API_KEY", "FLICKR_API_SECRET"
_HELP = f"set {_KEY} and {_SECRET}, or give `key_file` with the lines {_KEY}=… and {_SECRET}=…"

REMOVED = "[removed]"

# A shorter text may occur in an answer by chance; Flickr's keys have 32 characters and its secrets 16.
_SHORTEST = 16

_MARKUP = re.compile(r"<[^<>]*>")
_NOT_BARE = re.compile(r"[^0-9A-Za-z]+")
_NOT_BARE_BYTES = bytes(byte for byte in range(256) if not (byte < 128 and chr(byte).isalnum()))
_HIDING = (b"\\", b"&", b"<")  # an escape of JSON, an entity, markup within the key
_ROUNDS = 4  # as often as cleaning decodes entities


@dataclass(frozen=True)
class Credentials:
    """A Flickr key and its secret; neither shows in a repr.

    The secret may be empty: public photos are read with the key alone.

    >>> Credentials("0123456789abcdef", "fedcba")
    Credentials()
    """

    key: str = field(repr=False)
    secret: str = field(repr=False, default="")


def read_credentials(key_file: Place | None, environment: Mapping[str, str]) -> Credentials:
    """Return the key from a file if one is given, else from the environment.

    A file holds FLICKR_API_KEY=… and FLICKR_API_SECRET=…, or the key and the secret on a line each.

    >>> read_credentials(None, {"FLICKR_API_KEY": "k" * 32}).secret
    ''
    """
    values = _read_file(key_file) if key_file else environment
    key = values.get(_KEY, "").strip()
    if not key:
        missing = f"the key file {key_file} has no Flickr key" if key_file else "no Flickr key is set"
        raise InputError(f"{missing}; {_HELP}")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"the Flickr key holds spaces or other characters that no key has; {_HELP}")
    return Credentials(key, values.get(_SECRET, "").strip())


def _read_file(path: Place) -> dict[str, str]:
    path = require_file(require_local(path, "the key file", "a key does not travel"), "the key file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError):
        raise InputError(f"the key file {path} cannot be read as text; {_HELP}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not any("=" in line for line in lines):
        return dict(zip((_KEY, _SECRET), lines, strict=False))
    pairs = (line.removeprefix("export ").partition("=") for line in lines)
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


class Scrubber:
    r"""Removes secrets from answers, including escaped ones that cleaning would decode.

    >>> Scrubber(["0123456789abcdef"])(b'{"id": "7", "title": "key \\u0030123456789abcdef"}')
    b'{"id": "7", "title": "key [removed]"}'
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        long = [secret for secret in secrets if len(secret) >= _SHORTEST]
        self._forms = sorted({*long, *map(quote, long)})
        self._bytes = [form.encode() for form in self._forms]
        self._bare = [bare for form in self._forms if len(bare := _NOT_BARE.sub("", form)) >= _SHORTEST]

    def __call__(self, body: bytes) -> bytes:
        """Return the answer without secrets: the same bytes if it holds none."""
        plain = any(form in body for form in self._bytes)
        if plain or self._may_hide(body):
            parsed = parse_body(body)
            scrubbed = self._scrubbed(parsed)
            # Parsing drops the first of two fields with one name, which may hold the secret.
            if scrubbed != parsed or (plain and parsed is not None):
                return json.dumps(scrubbed).encode()
        for form in self._bytes if plain else ():
            body = body.replace(form, REMOVED.encode())
        return body

    def _may_hide(self, body: bytes) -> bool:
        if any(mark in body for mark in _HIDING):
            return True
        bare = body.translate(None, _NOT_BARE_BYTES)
        return any(form.encode() in bare for form in self._bare)

    def _scrubbed(self, value: Any) -> Any:
        if isinstance(value, str):
            return value if len(value) < _SHORTEST else self._scrubbed_text(value)
        if isinstance(value, list):
            return [self._scrubbed(each) for each in value]
        if isinstance(value, dict):
            return {self._scrubbed(key): self._scrubbed(each) for key, each in value.items()}
        return value

    def _scrubbed_text(self, text: str) -> str:
        """Return the text without secrets, or only `REMOVED` if cleaning would bring one out."""
        for form in self._forms:
            text = text.replace(form, REMOVED)
        cleaned = text
        for _ in range(_ROUNDS if "&" in text else 0):
            cleaned = html.unescape(cleaned)
        cleaned = _NOT_BARE.sub("", _MARKUP.sub("", cleaned))
        return REMOVED if any(form in cleaned for form in self._bare) else text
