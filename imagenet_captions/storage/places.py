"""Turn a path or a URL that a user gives into the object that the package opens, lists and joins.

A place on this machine is a `pathlib.Path`, `file://` URLs included. Any other URL is a `RemotePath`, which has those
methods of `Path` that this package uses. Functions that take either declare `Place`; `Path` is local.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar
from urllib.parse import unquote

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.storage.remote import RemotePath, open_url

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Place: TypeAlias = Path | RemotePath
AnyPlace = TypeVar("AnyPlace", bound=Place)
PlaceLike: TypeAlias = str | os.PathLike[str] | RemotePath  # `place` turns it into a Place

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
# What is left of a URL when pathlib or a slip took a slash.
_ONE_SLASH = re.compile(r"(s3a?|gs|gcs|hf|https?|az|abfss?|s?ftp|memory|file):/(?!/)", re.IGNORECASE)
_LOCAL = re.compile(r"(?:file|local)://", re.IGNORECASE)
# A URL anywhere in a text, such as NAME=https://…; a slash or two, either way round, as some readers forgive it.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[/\\]+([^/\\]*)(.*)", re.ASCII | re.DOTALL)
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_HAS_PORT = re.compile(r".*:[0-9]{1,5}", re.DOTALL)
_ROUNDS = 3  # %2540 is @ after two


def place(given: PlaceLike) -> Place:
    """Return the place that a path or URL names; a `Path` or an earlier result comes back as it is.

    Raises InputError for a URL that may hold a secret, a kind of URL that nothing installed can read, and other types.

    >>> place("work/captions.parquet").as_posix(), place("file:///data/a%20b").as_posix()
    ('work/captions.parquet', '/data/a b')
    """
    if not isinstance(given, (str, os.PathLike, RemotePath)):
        raise InputError(f"a path or URL must be a text or a Path, not {given!r:.80}")
    if not isinstance(given, str):
        return given if isinstance(given, (Path, RemotePath)) else Path(given)
    if not given:
        raise InputError("an empty path was given; give the path of a file or folder")
    refuse_secrets(given)
    if "::" in given and "://" in given:
        raise InputError(f"{shortened(given, 200)} chains several URLs; give a single one")
    if cut := _ONE_SLASH.match(given):
        raise InputError(
            f"{shortened(given, 200)} has one slash behind {cut[1]}: and would be a folder here; write {cut[1]}://"
        )
    if local := _LOCAL.match(given):
        return Path(unquote(given[local.end() :].removeprefix("localhost")))
    return reopen(given)


class PlaceField:
    """A field of a settings dataclass: takes a path or URL as `place` does, and holds the place; None by default."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, settings: object | None, owner: type) -> Place | None:
        return None if settings is None else settings.__dict__[self._name]

    def __set__(self, settings: object, given: PlaceLike | None) -> None:
        settings.__dict__[self._name] = None if given is None else place(given)


def reopen(name: str) -> Place:
    """Return the place of a file from a listing; an object's name may have any character."""
    return open_url(name) if is_url(name) else Path(name)


def local_place(given: str) -> Path:
    """Return the path that a text names, for a command that reads and writes on this machine only.

    >>> local_place("runs//clip").as_posix()
    'runs/clip'
    """
    return require_local(place(str(given)), "the place", "this command reads and writes on this machine alone")


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a path.

    >>> is_url("s3://bucket/dataset"), is_url("C://dataset"), is_url("s3/dataset")
    (True, False, False)
    """
    return _URL.match(text) is not None


def resolve_links(path: Place) -> Place:
    """Return the place behind the links; a link to itself stays as it is."""
    return path if is_remote(path) else Path(os.path.realpath(path))


def is_remote(path: Place) -> TypeIs[RemotePath]:
    """Return whether a place is behind a URL and not on this machine."""
    return isinstance(path, RemotePath)


def is_only_here(path: Place) -> bool:
    """Return whether a place is in the memory of this process (memory://), where its workers cannot see it."""
    return is_remote(path) and path.scheme == "memory"


def refuse_secrets(text: str) -> str:
    """Return the text; raise InputError if a URL in it has user-info, a query or a fragment, percent-encoded or not.

    These hold passwords, tokens and signatures, which would get into shell histories, process lists and messages. The
    error shows the URL's scheme and host only.

    >>> refuse_secrets("NAME=s3://bucket/a@b"), refuse_secrets("data/a?b#c")
    ('NAME=s3://bucket/a@b', 'data/a?b#c')
    """
    plain = text
    for encoded in range(_ROUNDS):
        for scheme, authority, rest in _addresses(plain):
            part = _secret_part(authority, rest)
            # In a file:// URL an encoded ? or # belongs to the name.
            if part and not (encoded and _LOCAL.match(f"{scheme}://")):
                shown = f"{scheme.lower()}://{_host(authority, rest)}"
                raise InputError(
                    f"the URL {shown} has {part}, which may hold a secret; remove it, and give credentials in the "
                    "environment (such as AWS_ACCESS_KEY_ID) or fsspec's configuration; download what a signed link "
                    "gives first"
                )
        plain = unquote(plain)
    return text


def _addresses(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the scheme, the authority (host and what is around it) and the rest of every URL in a text."""
    while found := _ADDRESS.search(text):
        yield found[1], found[2], found[3]
        text = text[found.end(1) :]


def _secret_part(authority: str, rest: str) -> str | None:
    before_path = re.split("[?#]", authority)[0]
    # The password of s3://NAME:PASSWORD@bucket may hold slashes.
    cut_short = ":" in before_path and not _HAS_PORT.fullmatch(before_path) and not before_path.startswith("[")
    if "@" in before_path or (cut_short and "@" in authority + rest):
        return "a user name or password (@)"
    if "?" in authority + rest:
        return "a query (?)"
    return "a fragment (#)" if "#" in authority + rest else None


def _host(authority: str, rest: str) -> str:
    """Return the host, or a mark if it may be a piece of a secret."""
    before, at, after = authority.rpartition("@")
    host = after if at else re.split("[?#]", authority)[0]
    unsure = "@" in before + rest or (at and re.search("[?#]", before))
    return host if _HOST.fullmatch(host) and not unsure else "…"


def require_local(path: Place, what: str, why: str) -> Path:
    """Return the path if it is on this machine; raise InputError, which says why it must be, if not."""
    if is_remote(path):
        raise InputError(f"{what} {path} is a URL, and {why}; give a path on this machine")
    return path
