"""The Flickr key: where it is read from, and how it stays out of everything that is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.places import require_local

_KEY, _SECRET = "FLICKR_API_KEY", "FLICKR_API_SECRET"
_HELP = f"set {_KEY} and {_SECRET}, or give `key_file` with the lines {_KEY}=… and {_SECRET}=…"


@dataclass(frozen=True)
class Credentials:
    """A Flickr key and its secret; neither shows in a repr.

    The secret may be empty: photos that everyone may see are read with the key alone.

    >>> Credentials("0123456789abcdef", "fedcba")
    Credentials()
    """

    key: str = field(repr=False)
    secret: str = field(repr=False, default="")


def read_credentials(key_file: Path | None, environment: Mapping[str, str]) -> Credentials:
    """The key of a file if one is given, else that of the environment.

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
        raise InputError(f"the Flickr key holds blanks or characters that no key has; {_HELP}")
    return Credentials(key, values.get(_SECRET, "").strip())


def _read_file(path: Path) -> dict[str, str]:
    try:
        path = require_local(path, "the key file", "a key does not travel")
        text = require_file(path, "the key file").read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError):
        raise InputError(f"the key file {path} cannot be read as text; {_HELP}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    if not any("=" in line for line in lines):
        return dict(zip((_KEY, _SECRET), lines, strict=False))
    pairs = (line.removeprefix("export ").partition("=") for line in lines)
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}
