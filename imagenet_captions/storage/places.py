"""A path or a URL, as a user gives it, to the object that the rest of the package opens, lists and joins.

What is on this machine is a `pathlib.Path`, `file://` URLs included, so that nothing changes for it. Any other URL is
a `RemotePath`, which has those methods of `Path` that this package uses.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TypeGuard
from urllib.parse import unquote

from imagenet_captions.errors import InputError
from imagenet_captions.storage.remote import RemotePath, open_url

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://", re.ASCII)
_LOCAL = re.compile(r"(?:file|local)://", re.IGNORECASE)
# NAME:PASSWORD@, where a password may hold slashes, as S3's do; but the 8080/ of http://host:8080/a@b begins none.
_PASSWORD = re.compile(
    r"(?:(?<=https://)|(?<=http://))[^/?#@:\s]*:(?!\d{1,5}/)[^\s]*@"
    r"|(?<=://)(?<!https://)(?<!http://)[^/?#@:\s]*:[^\s]*@"
)
# Parameters of signed URLs of S3, Google and Azure, and what else people put behind a question mark.
_SECRET = re.compile(
    r"(?i)([?&;](?:sig|[^=&;\s]*(?:signature|credential|token|secret|password|accesskey|api_?key)[^=&;\s]*)=)[^&;#\s]*"
)


def place(given: str | os.PathLike[str]) -> Path:
    """The place that a path or URL names; a `Path` or an earlier result comes back as it is.

    Raises InputError for a URL with credentials in it, since it would get into shell histories and process lists: they
    belong where fsspec looks for them. And for a kind of URL that nothing installed can read.

    >>> place("work/captions.parquet").as_posix(), place("file:///data/a%20b").as_posix()
    ('work/captions.parquet', '/data/a b')
    """
    if not isinstance(given, str):
        return given  # type: ignore[return-value]  # of the path-like objects, only paths get here
    if "::" in given and "://" in given:
        raise InputError(f"{redacted(given)[:200]} chains several URLs; give a single one")
    if not is_url(given):
        return Path(given)
    refuse_credentials(given)
    if local := _LOCAL.match(given):
        return Path(unquote(given[local.end() :].removeprefix("localhost")))
    return open_url(given)


def local_place(given: str) -> Path:
    """The path that a text names, for a command that reads and writes on this machine alone.

    >>> local_place("runs//clip").as_posix()
    'runs/clip'
    """
    return require_local(place(str(given)), "the place", "this command reads and writes on this machine alone")


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path.

    >>> is_url("s3://bucket/dataset"), is_url("C://dataset"), is_url("s3/dataset")
    (True, False, False)
    """
    return _URL.match(text) is not None


def is_remote(path: Path) -> TypeGuard[RemotePath]:
    """Whether a place is behind a URL and not on this machine."""
    return isinstance(path, RemotePath)


def is_only_here(path: Path) -> bool:
    """Whether a place is in the memory of this process (memory://), where none of its workers could see it."""
    return is_remote(path) and path.scheme == "memory"


def redacted(url: str) -> str:
    """A URL without user names, passwords and signatures, fit to be shown.

    >>> redacted("https://me:pw@host/a.zip?X-Amz-Signature=abc&part=1")
    'https://***@host/a.zip?X-Amz-Signature=***&part=1'
    """
    return _SECRET.sub(r"\1***", _PASSWORD.sub("***@", url))


def refuse_credentials(url: str) -> str:
    """The URL itself if no password or signature is in it."""
    if redacted(url) != url:
        raise InputError(
            f"{redacted(url)[:200]} holds credentials; leave them out, and give them as fsspec takes them: in the "
            "environment (AWS_ACCESS_KEY_ID and the like) or its configuration"
        )
    return url


def require_local(path: Path, what: str, why: str) -> Path:
    """The path if it is on this machine, else an InputError that says why it has to be."""
    if is_remote(path):
        raise InputError(f"{what} {path} is a URL, and {why}; give a path on this machine")
    return path
