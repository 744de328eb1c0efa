"""Run a function over many inputs as Ray tasks, with results in the order of the inputs.

Ray repeats a task whose worker or node dies, so everything that a task writes must be whole or not there.
"""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from imagenet_captions.engines.local import Engine, default_workers
from imagenet_captions.errors import ImagenetCaptionsError, InputError, NetworkError, StoppedEarly, quoted, shortened
from imagenet_captions.storage.faults import require

T = TypeVar("T")
R = TypeVar("R")

TRIES = 5
# The objects of a local cluster: per worker two tasks are under way, with batches and results of some 10 MB each.
_STORE_BYTES, _STORE_BYTES_A_WORKER = 512 << 20, 128 << 20
_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_END = 5.0  # for a task that is asked to, before its process is ended
_TOKEN = secrets.token_hex(32)  # of clusters that this process starts; Ray remembers the first


def run_task(work: tuple[Callable[[T], R], Path, str], item: T) -> bytes:
    """Run one task and return the pickled result.

    `work` has the function, the folder that relative paths start from, and the versions that a node must have.
    Unpickled, the result is a copy: one used from the object store would be read-only and stay there.
    """
    function, folder, versions = work
    if versions != _versions():
        raise InputError(
            f"a node of the Ray cluster has {_versions()}, and this machine {versions}; install the same on every node"
        )
    if folder.is_dir():
        os.chdir(folder)
    return pickle.dumps(function(item), protocol=5)


def _versions() -> str:
    """Return the versions on which the bytes of a dataset depend."""
    return f"imagenet-captions {version('imagenet-captions')} with pyarrow {pa.__version__}"


class RayEngine(Engine):
    """The engine of Ray tasks, for the length of a `with` block.

    With `address` the tasks run on that cluster, which must see the same files under the same paths; without it, on a
    cluster on this machine that ends with the block. The first work starts Ray. If the program started Ray by itself,
    it is used, and left running.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        require("ray", "`engine='ray'`")
        self._address, self._workers = address, workers
        self._ray: Any = None
        self._own = ExitStack()  # what ends with a connection that was made here

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(self, *error: object) -> None:
        self._ray = None
        self._own.close()

    @property
    def workers(self) -> int:
        """Return the number of workers asked for; else one for each CPU of the cluster, or of this machine."""
        if self._workers is None and self._address is not None:
            self._workers = int(self._started().cluster_resources().get("CPU", 0))
            if not self._workers:
                raise InputError(f"the Ray cluster at {quoted(self._address)} has no CPUs; add a node that has some")
        return self._workers or default_workers()

    def run(self, function: Callable[[T], R], items: Iterable[T], workers: int, threads: bool = False) -> Iterator[R]:
        """Yield function(item) for every item, in order, with at most two items a worker under way.

        An error of the function is raised as it is. Raises StoppedEarly if a task was killed too often.
        """
        ray = self._started()
        task = ray.remote(num_cpus=1, max_retries=TRIES)(run_task)
        work = ray.put((function, Path.cwd(), _versions()))  # once for all tasks
        pending: deque[Any] = deque()
        try:
            for item in items:
                pending.append(task.remote(work, item))
                if len(pending) >= 2 * workers:
                    yield _result(ray, pending.popleft())
            while pending:
                yield _result(ray, pending.popleft())
        finally:
            # Wait until every task has stopped writing. One that is just starting may miss the request, and is killed.
            left, force = list(pending), False
            while left and ray.is_initialized():
                for reference in left:
                    ray.cancel(reference, force=force)
                _, left = ray.wait(left, num_returns=len(left), timeout=_SECONDS_TO_END, fetch_local=False)
                force = True

    def _started(self) -> Any:
        """Return the module `ray`, connected to the cluster."""
        if self._ray is not None:
            return self._ray
        # Ray asks the environment, not its caller, whether to report its use to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = importlib.import_module("ray")
        if self._address is not None:
            _join(ray, self._address)
            self._own.callback(ray.shutdown)
        elif not ray.is_initialized():
            # In the system's own place: Ray puts sockets there, whose paths may have 107 bytes at most.
            folder = tempfile.mkdtemp(prefix="ic-ray-", dir="/tmp")
            self._own.callback(shutil.rmtree, folder, ignore_errors=True)
            if "RAY_AUTH_TOKEN" not in os.environ:
                # Else Ray 2.60 leaves a token in ~/.ray, for which every later cluster of the user asks.
                os.environ["RAY_AUTH_TOKEN"] = _TOKEN
                self._own.callback(os.environ.pop, "RAY_AUTH_TOKEN")
            try:
                _connect(
                    ray,
                    address="local",  # even if RAY_ADDRESS is set
                    num_cpus=self.workers,
                    num_gpus=0,
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES + self.workers * _STORE_BYTES_A_WORKER,
                    _temp_dir=folder,
                )
            except Exception as error:  # noqa: BLE001  # Ray raises nothing more special on a busy machine
                raise StoppedEarly(
                    f"Ray did not start on this machine: {shortened(error, 200)}; run the same command again, or "
                    "with `engine='local'`"
                ) from None
            self._own.callback(ray.shutdown)
        self._ray = ray
        return ray


def _connect(ray: Any, **settings: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(log_to_driver=False, logging_level=logging.CRITICAL, **settings)
    except SystemExit as ended:  # of Ray's own handler of SIGTERM, with the signal's number
        raise KeyboardInterrupt(ended.code) from None
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _join(ray: Any, address: str) -> None:
    host, _, port = address.rpartition(":")
    if address != "auto" and (not host or "/" in host or not port.isdigit()):
        raise InputError(
            f"`ray_address` must be HOST:PORT of the cluster's head, or auto on one of its machines, not "
            f"{quoted(address)}; give HOST:PORT"
        )
    try:
        if address != "auto":
            # Where nothing answers, Ray takes two minutes, and then ends the process.
            socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise NetworkError(
            f"no Ray cluster answers at `ray_address` {quoted(address)} ({shortened(error)}); "
            "check it, or start one with `ray start --head`"
        ) from None
    try:
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        with suppress(ImportError):  # Ray before 2.60; from then on it sends the user's token, if asked to
            tokens = importlib.import_module("ray._private.authentication.authentication_token_setup")
            tokens.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
        _connect(ray, address=address)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise NetworkError(
            f"the Ray cluster at `ray_address` {quoted(address)} cannot be joined: {shortened(error, 200)}; check "
            "the address and, if the cluster asks for a token, RAY_AUTH_TOKEN or ~/.ray/auth_token"
        ) from None


def _result(ray: Any, reference: Any) -> Any:
    try:
        return pickle.loads(reference.future().result())  # in ray.get a signal loses its number
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ImagenetCaptionsError):
            raise error.cause from None
        raise error.cause from error  # which tells where in the task it came from
    except ray.exceptions.RayError as error:
        raise StoppedEarly(
            f"Ray gave a task up after {TRIES} more tries ({type(error).__name__}), most often for lack of memory; "
            "run the same command again, with fewer `workers` if it happens twice"
        ) from None
