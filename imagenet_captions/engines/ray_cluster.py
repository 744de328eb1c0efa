"""Join a Ray cluster, or start one on this machine and end it; used by the Ray engine."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from imagenet_captions.engines.local import check_workers, default_workers
from imagenet_captions.engines.ray_token import own_token, quiet_stderr, token_of_user
from imagenet_captions.errors import InputError, NetworkError, StoppedEarly, quoted, shortened
from imagenet_captions.storage.faults import require

log = logging.getLogger(__name__)

# The objects of a local cluster: per worker two tasks are under way, with batches and results of some 10 MB each.
_STORE_BYTES, _STORE_BYTES_A_WORKER = 512 << 20, 128 << 20
_SECONDS_TO_ANSWER = 10.0
# RFC 9113, section 3.4. A frame begins with three bytes of length and one of type.
_SETTINGS_FRAME = b"\4"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + _SETTINGS_FRAME + b"\0\0\0\0\0"
_SECONDS_TO_END = 5.0  # for a task that is asked to, before its process is ended


class Cluster:
    """The Ray cluster of this process, which is started when it is first needed, and silent.

    If the program started Ray by itself, it is used, and left running.
    """

    def __init__(self, address: str | None, workers: int | None) -> None:
        self._address = address
        self._workers = None if workers is None else check_workers(workers)
        self._ray: Any = None
        self._own = ExitStack()  # what ends with a connection that was made here
        require("ray", "`engine='ray'`")

    @property
    def has_other_machines(self) -> bool:
        """Return whether the cluster was there before, and may have nodes on other machines."""
        return self._address is not None

    @property
    def workers(self) -> int:
        """Return the number of workers asked for; else one for each CPU of the cluster, or of this machine."""
        if self._workers is None and self._address is not None:
            self._workers = int(self.started().cluster_resources().get("CPU", 0))
            if not self._workers:
                raise InputError(f"the Ray cluster at {quoted(self._address)} has no CPUs; add a node that has some")
        return self._workers or default_workers()

    def started(self) -> Any:
        """Return the module `ray`, connected to the cluster."""
        if self._ray is None:
            # Ray asks the environment, not its caller, whether to report its use to its makers.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray = importlib.import_module("ray")
            if self._address is not None:
                _check_address(self._address)
            if ray.is_initialized():
                _check_same(ray, self._address)
            else:
                started = self._own.enter_context(_sigterm_kept())
                self._own.enter_context(_silence())
                if self._address is None:
                    self._start(ray)
                else:
                    self._join(ray, self._address)
                self._own.callback(ray.shutdown)
                started()
            self._ray = ray
        return self._ray

    def give_up(self, references: Sequence[Any]) -> None:
        """Cancel tasks, and wait until all of them have stopped writing.

        A task that is just starting may miss the request; after some seconds those left are killed.
        """
        if self._ray is None or not self._ray.is_initialized():
            return
        left, force = list(references), False
        while left:
            for reference in left:
                self._ray.cancel(reference, force=force)
            _, left = self._ray.wait(left, num_returns=len(left), timeout=_SECONDS_TO_END, fetch_local=False)
            force = True

    def stop(self) -> None:
        """Leave the cluster, and end it if it was started here."""
        self._ray = None
        self._own.close()

    def _start(self, ray: Any) -> None:
        # In the system's own place: Ray puts sockets there, whose paths may have 107 bytes at most.
        self._own.enter_context(own_token(ray))
        folder = tempfile.mkdtemp(prefix="ic-ray-", dir="/tmp")
        self._own.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            ray.init(
                address="local",  # even if RAY_ADDRESS is set
                num_cpus=self.workers,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=_STORE_BYTES + self.workers * _STORE_BYTES_A_WORKER,
                _temp_dir=folder,
                **_QUIET,
            )
        except Exception as error:  # noqa: BLE001  # Ray raises nothing more special on a machine that is too busy
            raise StoppedEarly(
                f"Ray did not start on this machine: {shortened(error, 200)}; run the same command again, or with "
                "`engine='local'`"
            ) from None

    def _join(self, ray: Any, address: str) -> None:
        if address != "auto":  # for which Ray sends the user's token by itself
            self._own.enter_context(token_of_user(ray, address))
        try:
            with quiet_stderr():
                ray.init(address=address, **_QUIET)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise NetworkError(
                f"the Ray cluster at `ray_address` {quoted(address)} cannot be joined: {shortened(error, 200)}"
            ) from None


_QUIET = {"log_to_driver": False, "logging_level": logging.CRITICAL}


@contextmanager
def _silence() -> Iterator[None]:
    """Log what Ray prints on stdout about workers that died; the engine reports the consequences itself.

    A thread of Ray's prints it by this private function whatever `log_to_driver` says, and Ray 2.60 has no setting,
    variable or logger that stops it.
    """
    module: Any = importlib.import_module("ray._private.worker")
    printing = getattr(module, "print_to_stdstream", None)
    if printing is None:
        yield
        return
    module.print_to_stdstream = lambda data, *_, **__: log.debug("%s", data["lines"])
    try:
        yield
    finally:
        module.print_to_stdstream = printing


@contextmanager
def _sigterm_kept() -> Iterator[Callable[[], None]]:
    """Put back the handler of SIGTERM, which Ray replaces when it starts and leaves replaced.

    Gives a function to call when Ray has started: a handler that the program sets later stays.
    """
    before, rays = signal.getsignal(signal.SIGTERM), None

    def started() -> None:
        nonlocal rays
        rays = signal.getsignal(signal.SIGTERM)

    try:
        yield started
    finally:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and before is not None and signal.getsignal(signal.SIGTERM) is rays:
            signal.signal(signal.SIGTERM, before)


def _check_address(address: str) -> None:
    """Raise at once for an address without a cluster; Ray takes two minutes, and then ends the process."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise InputError(
            f"`ray_address` must be HOST:PORT of the cluster's head, or auto on one of its machines, not "
            f"{quoted(address)}; give HOST:PORT"
        )
    try:
        speaks = _speaks_http2(host, int(port))
    except (OSError, OverflowError, UnicodeError) as error:
        raise NetworkError(
            f"no Ray cluster answers at `ray_address` {quoted(address)} ({shortened(error)}); "
            "check it, or start one with `ray start --head`"
        ) from None
    if not speaks:
        raise InputError(f"what answers at `ray_address` {quoted(address)} is not a Ray cluster; check host and port")


def _speaks_http2(host: str, port: int) -> bool:
    """Return whether a server speaks HTTP/2, as Ray does: it answers the preface with a settings frame."""
    with socket.create_connection((host, port), _SECONDS_TO_ANSWER) as connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return True
        connection.sendall(_PREFACE)
        return connection.recv(4, socket.MSG_WAITALL)[3:] == _SETTINGS_FRAME


def _check_same(ray: Any, address: str | None) -> None:
    """Refuse a cluster other than the one that the program has already joined."""
    joined = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", joined):
        raise InputError(f"this process has joined the Ray cluster at {joined}; leave `ray_address` out, or give that")
