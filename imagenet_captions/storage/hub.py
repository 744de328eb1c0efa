"""Errors of the Hugging Face Hub in one sentence, in place of a page of tracebacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import HTTPError, URLError

from huggingface_hub import constants, get_session, utils
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from imagenet_captions.errors import InputError, NetworkError, shortened

# The hub's client is requests, httpx or httpx2, as its version has it: the base of its own error is its client's.
CLIENT_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
_UNREACHED = (URLError, ConnectionError, TimeoutError, LocalEntryNotFoundError, OfflineModeIsEnabled)
_UNREACHED_BY_NAME = {"TransportError", "ConnectionError", "Timeout", "RequestError"}
_INSTEAD = "give a file or a folder that is on this machine"


_PATIENCE = 5.0


@contextmanager
def reaching(what: str, local: bool = False) -> Iterator[None]:
    """Turn a hub's errors into one sentence that names what was asked for; `local` says that it is a folder.

    The libraries raise a dozen kinds of error, and wrap them in an OSError or RuntimeError of their own: the chain of
    causes says whether the network was the reason. Everything else goes on as it is.
    """
    try:
        with _only_what_is_here(not local and not hub_answers()):
            yield
    except (OSError, RuntimeError, ValueError, CLIENT_ERROR) as error:
        causes = list(causes_of(error))
        if any(isinstance(cause, RepositoryNotFoundError) for cause in causes):
            raise InputError(f"the hub has no {what}, or wants a login for it; check the name, or {_INSTEAD}") from None
        if any(_is_refusal(cause) for cause in causes):
            raise NetworkError(f"the hub refused {what} ({shortened(error)}); {_INSTEAD}") from None
        if any(is_unreached(cause) for cause in causes):
            raise NetworkError(f"{what} would come from a hub that cannot be reached from here; {_INSTEAD}") from None
        raise


def hub_answers() -> bool:
    """Return whether the hub answers at all; its own client waits 23 seconds a file before it gives up."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)
    except (OSError, CLIENT_ERROR):
        return False
    return True


@contextmanager
def _only_what_is_here(offline: bool) -> Iterator[None]:
    """Use only files that were downloaded before, since the hub does not answer."""
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or offline
    _forget_sessions()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        _forget_sessions()


def _forget_sessions() -> None:
    """Close connections that were made with another setting; only clients before version 1 keep it in them."""
    reset = getattr(utils, "reset_sessions", None)
    if reset is not None:
        reset()


def _is_refusal(error: BaseException) -> bool:
    # Before version 1 of the hub's client, a file that is not here was an error of HTTP too.
    return isinstance(error, (HfHubHTTPError, HTTPError)) and not isinstance(error, LocalEntryNotFoundError)


def is_unreached(error: BaseException) -> bool:
    """Return whether an error means that no connection came about, or that it broke."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, _UNREACHED) or bool(names & _UNREACHED_BY_NAME)


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and everything that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
