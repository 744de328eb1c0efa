"""Turn faults of disks, object stores and the Hugging Face Hub, and missing extras, into errors of one sentence."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from imagenet_captions.errors import DiskFullError, InputError, NetworkError, NotFoundError, shortened

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
# What is full, by the error's number, and what a user can do about it.
_FULL = {
    errno.ENOSPC: "no space is left on the disk; free some",
    errno.EDQUOT: "your disk quota is used up; free some",
    errno.EFBIG: "a file may not be that large here; raise the limit (ulimit -f)",
}
_SECRET_NAME, _SHORTEST_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL", re.IGNORECASE), 8
_USER_INFO = re.compile(r"//[^/\s@]+@")
_QUERY = re.compile(r"(\b\w+://[^\s?'\"]*)\?[^\s'\"]*")
_TOKEN = re.compile(r"\bhf_\w{8,}|(?<=[Bb]earer )\S+")

# Errors of the hub's clients (requests, httpx or httpx2, as their version has it), by the names of their bases.
_OF_THE_HUB = {
    *("HTTPError", "RequestException", "URLError", "ConnectionError", "TimeoutError"),
    *("LocalEntryNotFoundError", "OfflineModeIsEnabled"),
}
_INSTEAD = "give a file or a folder that is on this machine"
_PATIENCE = 5.0  # seconds; the hub's own client waits 23 a file before it gives up

# The modules that show that an extra of setup.cfg is installed.
_MODULES = {
    "train": ("torch", "torchvision", "lightning", "open_clip", "timm", "transformers", "tensorboard"),
    "ray": ("ray",),
}


def missing_object(url: str) -> NotFoundError:
    """Build the error for a URL with nothing behind it."""
    return NotFoundError(f"{url} does not exist, or its bucket does not; check the URL")


@contextmanager
def reporting_full_disk(path: str) -> Iterator[None]:
    """Turn a full disk under `path`, a quota that is used up, or a file that is too large, into a DiskFullError."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError(f"{path}: {reason_of(error)}") from error


@contextmanager
def reporting_faults(url: str) -> Iterator[None]:
    """Turn what fsspec and the packages behind it raise about `url` into an error of this package."""
    foreign = [getattr(sys.modules[module], name) for module, name in _FOREIGN if module in sys.modules]
    try:
        yield
    except FileNotFoundError:
        raise missing_object(url) from None
    except (OSError, ValueError, NotImplementedError, *foreign) as error:
        kind = InputError if isinstance(error, PermissionError) else NetworkError
        raise kind(
            f"{url} cannot be used: {message_of(error)}; check the network, the endpoint, the bucket's name and the "
            "credentials that fsspec finds in the environment or its configuration, and run the same command again"
        ) from None


def reason_of(error: OSError) -> str:
    """Return what the operating system refused, and what to do about it."""
    if error.errno in _FULL:
        return f"{_FULL[error.errno]} and run the same command again, finished work is kept"
    if isinstance(error, PermissionError):
        return "permission denied; check who may read and write there"
    said = error.strerror.lower() if error.strerror else message_of(error)
    return f"{said}; check the path"


def sentence_of(error: OSError) -> str:
    """Return the same sentence with the file that it is about, if the operating system named one."""
    named = [name for name in (error.filename, error.filename2) if isinstance(name, str | bytes | os.PathLike)]
    files = " and ".join(map(os.fsdecode, named))
    return f"{files}: {reason_of(error)}" if files else reason_of(error)


def message_of(error: BaseException) -> str:
    """Return a library's error as one line without secrets: its class and what it says."""
    said = shortened(without_secrets(str(error)), 200).strip()
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def without_secrets(text: str) -> str:
    """Return a text without the user-info and queries of URLs, tokens of the Hub, and secrets of the environment."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return _TOKEN.sub("***", _QUERY.sub(r"\1", _USER_INFO.sub("//", text)))


# The Hugging Face Hub.


def client_error() -> type[Exception]:
    """Return the base of the errors of the hub's HTTP client."""
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


@contextmanager
def reaching(what: str, local: bool = False) -> Iterator[None]:
    """Turn a hub's errors into one sentence that names what was asked for; `local` says that it is a folder.

    The libraries raise a dozen kinds of error, and wrap them in an OSError or RuntimeError of their own: the chain of
    causes says whether the hub was the reason. Everything else goes on as it is.
    """
    from huggingface_hub import constants, utils

    before = constants.HF_HUB_OFFLINE
    # Connections that were made with another setting are closed; only clients before version 1 keep it in them.
    reset = getattr(utils, "reset_sessions", lambda: None)
    try:
        # Without an answer only files that were downloaded before are used.
        constants.HF_HUB_OFFLINE = before or not (local or hub_answers())
        reset()
        yield
    except (OSError, RuntimeError, ValueError, client_error()) as error:
        kinds = {kind.__name__ for cause in causes_of(error) for kind in type(cause).__mro__}
        if "RepositoryNotFoundError" in kinds:
            raise InputError(f"the hub has no {what}, or wants a login for it; check the name, or {_INSTEAD}") from None
        if kinds & _OF_THE_HUB:
            raise NetworkError(
                f"{what} would come from a hub that cannot be reached from here, or does not give it "
                f"({message_of(error)}); {_INSTEAD}"
            ) from None
        raise
    finally:
        constants.HF_HUB_OFFLINE = before
        reset()


def hub_answers() -> bool:
    """Return whether the hub answers at all."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except (OSError, client_error()):
        return False
    return True


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and everything that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # `raise error.__cause__ from None` makes a circle
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


# Optional extras.


def require(extra: str, what: str, *modules: str) -> None:
    """Raise InputError unless an extra, or these modules of it, are installed; called before anything is read.

    `what` names what the user asked for. The error names the first missing module and how to install it.
    """
    missing = [module for module in modules or _MODULES[extra] if find_spec(module) is None]
    if missing:
        raise InputError(f"{what} needs {missing[0]}, which is not installed; {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """Return how to install an extra, from a clone: the project is not on a package index."""
    command = f"pip install '.[{extra}]'"
    return f"for the extra '{extra}' run {command} in a clone of imagenet-captions (see Install in its README)"
