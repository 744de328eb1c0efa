"""Run a function over many inputs as Ray tasks, here or on a cluster, with results in the order of the inputs.

Each input is one task, which runs the same function as the local engine. (Measured for this work: Ray Data's operators
reach 0.4 to 0.75 of a process pool's speed, plain tasks all of it.) Ray repeats a task whose worker or node dies, so
everything that a task writes must be whole or not there.
"""

from __future__ import annotations

import functools
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Generic, TypeVar

import pyarrow as pa

from imagenet_captions.engines.local import Engine, check_workers, default_workers
from imagenet_captions.errors import ImagenetCaptionsError, InputError, NetworkError, StoppedEarly, quoted, shortened
from imagenet_captions.storage.faults import require

T = TypeVar("T")
R = TypeVar("R")

log = logging.getLogger(__name__)

TRIES = 5
# The objects of a local cluster: per worker two tasks are under way, with batches and results of some 10 MB each.
_STORE_BYTES, _STORE_BYTES_A_WORKER = 512 << 20, 128 << 20
_SECONDS_TO_ANSWER = 10.0
_SECONDS_TO_END = 5.0  # for a task that is asked to, before its process is ended
_MODE, _TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
_QUIET = {"log_to_driver": False, "logging_level": logging.CRITICAL}


@dataclass(frozen=True)
class Work(Generic[T, R]):
    """A task's function, and the folder and versions that it must find where it runs."""

    function: Callable[[T], R]
    folder: Path  # what relative paths start from
    versions: str


def run_task(work: Work[T, R], item: T) -> bytes:
    """Run one task and return the pickled result.

    Unpickled, the result is a copy: one used from the object store would be read-only and stay there.
    """
    if work.versions != _versions():
        raise InputError(
            f"a node of the Ray cluster has {_versions()}, and this machine {work.versions}; install the same on every "
            "node"
        )
    if work.folder.is_dir():
        os.chdir(work.folder)
    return pickle.dumps(work.function(item), protocol=5)


@functools.cache
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
        self._address = address
        self._workers = None if workers is None else check_workers(workers)
        self._ray: Any = None
        self._own = ExitStack()  # what ends with a connection that was made here
        self._handler: Any = None  # of SIGTERM, that Ray set

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
        work = ray.put(Work(function, Path.cwd(), _versions()))  # once for all tasks
        pending: deque[Any] = deque()
        try:
            for item in items:
                pending.append(task.remote(work, item))
                if len(pending) >= 2 * workers:
                    yield _result(ray, pending.popleft())
            while pending:
                yield _result(ray, pending.popleft())
        finally:
            self._give_up(list(pending))

    def _started(self) -> Any:
        """Return the module `ray`, connected to the cluster."""
        if self._ray is not None:
            return self._ray
        # Ray asks the environment, not its caller, whether to report its use to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray = importlib.import_module("ray")
        if self._address not in (None, "auto"):
            _check_address(str(self._address))
        if ray.is_initialized():
            joined = ray.get_runtime_context().gcs_address
            if self._address not in (None, "auto", joined):
                raise InputError(
                    f"this process has joined the Ray cluster at {joined}; leave `ray_address` out, or give that"
                )
        else:
            self._own.callback(self._put_back, signal.getsignal(signal.SIGTERM))
            self._own.enter_context(_silence())
            if self._address is None:
                self._start(ray)
            else:
                self._join(ray, self._address)
            self._own.callback(ray.shutdown)
            self._handler = signal.getsignal(signal.SIGTERM)
        self._ray = ray
        return ray

    def _put_back(self, before: Any) -> None:
        """Put back the handler of SIGTERM, which Ray replaces; one that the program has set since stays."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and before is not None and signal.getsignal(signal.SIGTERM) is self._handler:
            signal.signal(signal.SIGTERM, before)

    def _give_up(self, references: Sequence[Any]) -> None:
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

    def _start(self, ray: Any) -> None:
        # In the system's own place: Ray puts sockets there, whose paths may have 107 bytes at most.
        self._own.enter_context(_settings(ray, {_TOKEN: secrets.token_hex(32)}))
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
        if address != "auto" and _has_token(ray):  # for auto Ray sends the user's token by itself
            self._own.enter_context(_settings(ray, {_MODE: "token"}))
        try:
            with _quiet_stderr():
                ray.init(address=address, **_QUIET)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise NetworkError(
                f"the Ray cluster at `ray_address` {quoted(address)} cannot be joined: {shortened(error, 200)}; check "
                f"the address and, if the cluster asks for a token, {_TOKEN} or ~/.ray/auth_token"
            ) from None


def _result(ray: Any, reference: Any) -> Any:
    try:
        return pickle.loads(ray.get(reference))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, ImagenetCaptionsError):
            raise cause from None
        if isinstance(cause, Exception):
            raise cause from error  # which tells where in the task it came from
        raise
    except ray.exceptions.RayError as error:
        raise StoppedEarly(
            f"Ray gave a task up after {TRIES} more tries ({type(error).__name__}), most often for lack of memory; "
            "run the same command again, with fewer `workers` if it happens twice"
        ) from None


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


def _check_address(address: str) -> None:
    """Raise at once for an address where nothing answers; Ray takes two minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise InputError(
            f"`ray_address` must be HOST:PORT of the cluster's head, or auto on one of its machines, not "
            f"{quoted(address)}; give HOST:PORT"
        )
    try:
        socket.create_connection((host, int(port)), _SECONDS_TO_ANSWER).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise NetworkError(
            f"no Ray cluster answers at `ray_address` {quoted(address)} ({shortened(error)}); "
            "check it, or start one with `ray start --head`"
        ) from None


@contextmanager
def _quiet_stderr() -> Iterator[None]:
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


# Ray 2.60 starts a cluster for `ray.init()` with a token that it leaves in ~/.ray/auth_token. Every later `ray start`
# of that user asks for it, but `ray.init(address="HOST:PORT")` does not send it. So our own clusters get a token that
# no file keeps, and other ones are sent the user's, whether they ask for it or not.


def _has_token(ray: Any) -> bool:
    """Return whether the user has a token, and this Ray knows of tokens."""
    if not hasattr(ray.exceptions, "AuthenticationError"):
        return False
    _read_settings(ray)
    loader = importlib.import_module("ray._raylet").AuthenticationTokenLoader
    try:
        return bool(loader.instance().has_token(ignore_auth_mode=True))
    except ray.exceptions.AuthenticationError:  # RAY_AUTH_TOKEN_PATH is not a file
        return False


@contextmanager
def _settings(ray: Any, values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for the length of a block, and make Ray read them."""
    before = {name: os.environ.get(name) for name in (_MODE, _TOKEN)}  # Ray sets one for the other
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
    if hasattr(ray.exceptions, "AuthenticationError"):  # a Ray with tokens
        raylet = importlib.import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
