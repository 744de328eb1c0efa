"""Handle the token that newer versions of Ray demand between the processes of a cluster.

Ray 2.60 starts a cluster for `ray.init()` with a token that it leaves in ~/.ray/auth_token. Every later `ray start` of
that user asks for it, but `ray.init(address="HOST:PORT")` does not send it. So our own clusters get a token that no
file keeps, and a cluster that asks for the user's token is sent it.
"""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from imagenet_captions.errors import InputError, quoted, shortened

log = logging.getLogger(__name__)

_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"


@contextmanager
def own_token(ray: Any) -> Iterator[None]:
    """Give a cluster that is started in this block its own token, and remove it afterwards."""
    with _settings(ray, {_TOKEN: secrets.token_hex(32)}):
        yield


@contextmanager
def token_of_user(ray: Any, address: str) -> Iterator[None]:
    """Send the user's token in this block if the cluster at HOST:PORT asks for one.

    Raises InputError if the token is missing or another one, or if what answers there is not a cluster's head.
    """
    _read_settings(ray)
    if not _has_tokens(ray) or not _asks_for_token(ray, address):
        yield
    elif not _token_is_set(ray):
        raise InputError(
            f"the Ray cluster at `ray_address` {quoted(address)} asks for a token, and there is none here; set "
            f"{_TOKEN}, or copy ~/.ray/auth_token from the machine that started it"
        )
    else:
        with _settings(ray, {_MODE: "token"}):
            if _asks_for_token(ray, address):
                raise InputError(
                    f"the Ray cluster at `ray_address` {quoted(address)} refuses the token of {_TOKEN} or "
                    "~/.ray/auth_token; take the one of the machine that started it"
                )
            yield


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send what is written on file descriptor 2 to the log; Ray's C++ code writes there whatever its settings are."""
    with tempfile.TemporaryFile() as written:
        before = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            written.seek(0)
            log.debug("%s", written.read().decode(errors="replace"))


def _has_tokens(ray: Any) -> bool:
    return hasattr(ray.exceptions, "AuthenticationError")


def _token_is_set(ray: Any) -> bool:
    try:
        return bool(_raylet().AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    except ray.exceptions.AuthenticationError:  # RAY_AUTH_TOKEN_PATH is not a file
        return False


def _asks_for_token(ray: Any, address: str) -> bool:
    """Return whether the cluster refuses to answer without the right token."""
    if os.environ.get(_MODE, "").lower() == "token" and not _token_is_set(ray):
        return True  # Ray would end this process
    try:
        with quiet_stderr():
            _raylet().GcsClient(address=address)
    except ray.exceptions.AuthenticationError:
        return True
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        raise InputError(
            f"what answers at `ray_address` {quoted(address)} is not the head of a Ray cluster "
            f"({shortened(error)}); give the port of `ray start --head`, by default 6379"
        ) from None
    return False


@contextmanager
def _settings(ray: Any, values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block, and make Ray read them."""
    before = {name: os.environ.get(name) for name in (_MODE, _TOKEN)}
    os.environ.update(values)
    _read_settings(ray)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_settings(ray)


def _read_settings(ray: Any) -> None:
    if _has_tokens(ray):
        _raylet().Config.initialize("")
        _raylet().AuthenticationTokenLoader.instance().reset_cache()


def _raylet() -> Any:
    return importlib.import_module("ray._raylet")
