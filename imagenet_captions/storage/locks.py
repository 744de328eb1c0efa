"""Locks on outputs and work folders, so that one run at a time works on each; they end with their process."""

from __future__ import annotations

import getpass
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.storage.places import Place, is_remote

# The outputs that the current chain of calls holds: `build` holds a dataset that `package` then writes.
_HELD: ContextVar[frozenset[str]] = ContextVar("held outputs", default=frozenset())


@contextmanager
def locked(path: Path, what: str, seconds: float = 0) -> Iterator[None]:
    """Hold a lock file while a run works on `what`; raise InputError if another run holds it for `seconds`.

    The operating system releases the lock when the process ends, however it ends. The file stays.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise InputError(f"{what} is in use by another run; wait for it to end, or stop it") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def holding(outputs: Iterable[Place], seconds: float = 0) -> Iterator[None]:
    """Hold these outputs for this run; raise InputError if another run holds one of them for `seconds`.

    The lock files lie in the temporary folder of this machine, so nothing is left beside an output. Runs on two
    machines that share a disk do not see each other's locks; each still publishes whole files.
    """
    names = {_identity(path): path for path in outputs}
    held = _HELD.get()
    with ExitStack() as stack:
        for identity in sorted(names.keys() - held):
            name = hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:32]
            stack.enter_context(locked(_lock_folder() / f"{name}.lock", f"the output {names[identity]}", seconds))
        token = _HELD.set(held | names.keys())
        try:
            yield
        finally:
            _HELD.reset(token)


def _identity(path: Place) -> str:
    return str(path) if is_remote(path) else os.path.realpath(path)


def _lock_folder() -> Path:
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"imagenet-captions-{user}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != user:
        raise InputError(f"{folder} belongs to another user; remove it, or set TMPDIR to a folder of your own")
    return folder
