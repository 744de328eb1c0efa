"""Remove the Flickr key from what a service answers, in whatever form it comes back."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from imagenet_captions.crawler.policy import parse_body

REMOVED = "[removed]"

# A shorter text may stand in an answer by chance; Flickr's keys have 32 characters and its secrets 16.
_SHORTEST = 16

_MARKUP = re.compile(r"<[^<>]*>")
_NOT_BARE = re.compile(r"[^0-9A-Za-z]+")
_NOT_BARE_BYTES = bytes(byte for byte in range(256) if not (byte < 128 and chr(byte).isalnum()))
_HIDING = (b"\\", b"&", b"<")  # an escape of JSON, an entity, markup within the key
_ROUNDS = 4  # as often as cleaning decodes entities


class Scrubber:
    r"""Removes secrets from answers, also where they are escaped and cleaning would bring them out.

    >>> Scrubber(["0123456789abcdef"])(b'{"id": "7", "title": "key \\u0030123456789abcdef"}')
    b'{"id": "7", "title": "key [removed]"}'
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        long = [secret for secret in secrets if len(secret) >= _SHORTEST]
        self._forms = sorted({*long, *map(quote, long)})
        self._bytes = [form.encode() for form in self._forms]
        self._bare = [bare for form in self._forms if len(bare := _NOT_BARE.sub("", form)) >= _SHORTEST]

    def __call__(self, body: bytes) -> bytes:
        """Return the answer without secrets; it is the same bytes if it holds none."""
        plain = any(form in body for form in self._bytes)
        if plain or self._may_hide(body):
            parsed = parse_body(body)
            scrubbed = self._scrubbed(parsed)
            # JSON that names a field twice is parsed without the first one.
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
        """Return the text without secrets, and nothing of a text that cleaning would turn into one."""
        for form in self._forms:
            text = text.replace(form, REMOVED)
        cleaned = text
        for _ in range(_ROUNDS if "&" in text else 0):
            cleaned = html.unescape(cleaned)
        cleaned = _NOT_BARE.sub("", _MARKUP.sub("", cleaned))
        return REMOVED if any(form in cleaned for form in self._bare) else text
