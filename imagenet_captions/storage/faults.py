"""Turn faults of disks and object stores into errors of one sentence, without the secrets that they may quote."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagenet_captions.errors import DiskFullError, InputError, NetworkError, NotFoundError

# Errors of the packages behind fsspec that are not OSErrors; looked up only in modules already imported.
_FOREIGN = (
    ("asyncio", "TimeoutError"),  # an OSError only from Python 3.11 on
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
    ("huggingface_hub.errors", "HfHubHTTPError"),
    ("huggingface_hub.errors", "OfflineModeIsEnabled"),
    ("httpx", "HTTPError"),
    ("httpx2", "HTTPError"),  # which huggingface_hub 2 uses
)
# Error numbers of the operating system, and what a user can do about each.
_REASONS = {
    errno.ENOSPC: "no space is left on the disk; free some and run the same command again, finished work is kept",
    errno.EDQUOT: "your disk quota is used up; free some and run the same command again, finished work is kept",
    errno.EACCES: "permission denied; check who may read and write there",
    errno.EPERM: "permission denied; check who may read and write there",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its links lead in a circle; correct them, or give another path",
    errno.ENOENT: "it does not exist, or was removed meanwhile; check the path and run the same command again",
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.EISDIR: "it is a folder; give the file itself",
    errno.EMFILE: "too many files are open; raise the limit (ulimit -n) and run the same command again",
    errno.EIO: "the disk failed (input/output error); check it and run the same command again",
}
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FAILED = 500  # and above: HTTP answers of a server that cannot answer
_CODE = re.compile(r"[A-Za-z0-9.]{1,40}")


def missing_object(url: str) -> NotFoundError:
    """Build the error for a URL with nothing behind it."""
    return NotFoundError(f"{url} does not exist, or its bucket does not; check the URL")


@contextmanager
def reporting_full_disk(path: Path) -> Iterator[None]:
    """Turn a full disk under `path`, or a quota that is used up, into a DiskFullError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise DiskFullError(f"{path}: {reason_of(error)}") from error


@contextmanager
def reporting_faults(url: str) -> Iterator[None]:
    """Turn what fsspec and the packages behind it raise about `url` into an error of this package.

    Their own messages are left out, since they may quote a secret.
    """
    try:
        yield
    except FileNotFoundError:
        raise missing_object(url) from None
    except PermissionError as error:
        raise InputError(
            f"access to {url} is denied{_code(error)}; check the credentials that fsspec finds for it, in the "
            "environment or its configuration, and what they allow"
        ) from None
    except NotImplementedError:
        raise InputError(f"{url} cannot be written to in this way; give another place") from None
    except _faults() as error:
        if "Credentials" in type(error).__name__:
            raise InputError(
                f"no credentials were found for {url}; set them as fsspec takes them, in the environment or its "
                "configuration"
            ) from None
        raise NetworkError(
            f"{url} cannot be used: {type(error).__name__}{_code(error)}; check the network, the endpoint, the "
            "bucket's name and the credentials, and run the same command again"
        ) from None


def unreached(url: str, cause: BaseException | None) -> NetworkError | None:
    """Return the error for a server that does not answer, or fails; fsspec's HTTP says that the file is not there."""
    status = getattr(cause, "status", None)
    if not isinstance(cause, _faults()) or (status is not None and status < _FAILED):
        return None
    why = type(cause).__name__ if status is None else f"HTTP {status}"
    return NetworkError(
        f"the server of {url} cannot be reached, or failed ({why}); check the address and the network, and run the "
        "same command again"
    )


def reason_of(error: OSError) -> str:
    """Return what the operating system refused, and what to do about it.

    >>> reason_of(PermissionError(errno.EACCES, "Permission denied", "a"))
    'permission denied; check who may read and write there'
    """
    known = _REASONS.get(error.errno or 0)
    return known or f"{error.strerror or type(error).__name__}; check the path and run the same command again"


def sentence_of(error: OSError) -> str:
    """Return the same sentence with the file that it is about, if the operating system named one."""
    files = [
        os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)
    ]
    return f"{' and '.join(files)}: {reason_of(error)}" if files else reason_of(error)


def _faults() -> tuple[type[BaseException], ...]:
    foreign = [getattr(sys.modules[module], name) for module, name in _FOREIGN if module in sys.modules]
    return (OSError, ValueError, *foreign)


def _code(error: BaseException) -> str:
    """Return the code of an S3 answer, such as SlowDown, which packages keep in the cause of their error."""
    response = getattr(error.__cause__ or error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
