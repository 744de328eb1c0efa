"""Run a pure, picklable function over many inputs in processes or threads, with results in the order of the inputs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from imagenet_captions.errors import InputError, StoppedEarly, require_kind
from imagenet_captions.options import check, option

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    import pyarrow as pa


T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """The protocol of an engine: it runs a stage's function over its inputs."""

    def run(self, function: Callable[[T], R], items: Iterable[T], workers: int, threads: bool = False) -> Iterator[R]:
        """Yield function(item) for every item, in order, with at most two items a worker under way.

        `threads` says that the function works as well in threads, which are cheaper to start than processes.
        """

    def map_batches(
        self, function: Callable[[pa.RecordBatch], pa.RecordBatch], batches: Iterable[pa.RecordBatch], workers: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield function(batch) for every batch, in order; batches travel as Arrow IPC.

        Plain pickling of a sliced batch would send the whole buffers that the slice was cut from.
        """
        yield from map(_unpack, self.run(partial(_apply_packed, function), map(_pack, batches), workers))


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of so many items, the last one shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def default_workers() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> int:
    """Return the number if it is at least one, else raise InputError."""
    require_kind("workers", workers, int, "a whole number")
    if workers < 1:
        raise InputError(f"`workers` must be at least 1, not {workers}")
    return workers


def _end_with_parent() -> None:
    """End this worker when the process that started it is killed; a pool's workers would wait, or go on writing."""
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()

    def exit_after() -> None:
        if parent is not None:
            wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=exit_after, daemon=True).start()


def _apply_packed(function: Callable[[pa.RecordBatch], pa.RecordBatch], packed: pa.Buffer) -> pa.Buffer:
    return _pack(function(_unpack(packed)))


def _pack(batch: pa.RecordBatch) -> pa.Buffer:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


def _unpack(packed: pa.Buffer) -> pa.RecordBatch:
    import pyarrow as pa

    with pa.ipc.open_stream(packed) as reader:
        return reader.read_next_batch()


class LocalEngine(Engine):
    """The engine of processes and threads on this machine."""

    def run(self, function: Callable[[T], R], items: Iterable[T], workers: int, threads: bool = False) -> Iterator[R]:
        """Yield function(item) for every item, in order; at most two items a worker are held in memory.

        With one worker everything happens in this thread. Processes are spawned, so that threads of this one (Arrow's,
        SQLite's) are never forked. Threads suit a function that reads, hashes and calls Arrow, which let go of Python's
        lock.
        """
        if workers == 1:
            yield from map(function, items)
            return
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
        from concurrent.futures.process import BrokenProcessPool

        pool: Executor
        if threads:
            pool = ThreadPoolExecutor(workers)
        else:
            spawn = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_parent)
        with pool:
            pending: deque[Future[R]] = deque()
            try:
                for item in items:
                    # Ctrl-C is not for the workers that start now: this process ends them, and they print nothing.
                    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
                    try:
                        pending.append(pool.submit(function, item))
                    finally:
                        signal.pthread_sigmask(signal.SIG_SETMASK, before)
                    if len(pending) >= 2 * workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            except BrokenProcessPool:
                raise StoppedEarly(
                    "a worker process was killed, most often for lack of memory; run the same command again, "
                    "with fewer `workers` if it happens twice"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)

    def map_batches(
        self, function: Callable[[pa.RecordBatch], pa.RecordBatch], batches: Iterable[pa.RecordBatch], workers: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield function(batch) for every batch, in order; with one worker, in this thread."""
        return map(function, batches) if workers == 1 else super().map_batches(function, batches, workers)


LOCAL: Engine = LocalEngine()


WORKERS = "Number of processes or threads; 1 is this process alone. Default: one a core."


@dataclass(frozen=True)
class EngineName:
    """The engine's name, and the Ray cluster."""

    engine: str = option(
        "Run on processes of this machine (local), or as Ray tasks, here or on a cluster.",
        "local",
        choices=("local", "ray"),
    )
    ray_address: str | None = option(
        "The Ray cluster to use. Default: one on this machine, for this run.", metavar="HOST:PORT"
    )

    def __post_init__(self) -> None:
        check(self)
        if self.ray_address is not None and self.engine != "ray":
            raise InputError("`ray_address` means nothing without `engine='ray'`; give both, or neither")


@dataclass(frozen=True)
class EngineSettings(EngineName):
    """The engine, and its number of workers."""

    workers: int | None = option(WORKERS, least=1)


@contextmanager
def open_engine(settings: EngineSettings) -> Iterator[tuple[Engine, int]]:
    """Give the engine and the number of workers for the length of the block."""
    if settings.engine == "local":
        yield LOCAL, settings.workers or default_workers()
        return
    from imagenet_captions.engines.ray import RayEngine

    with RayEngine(settings.ray_address, settings.workers) as engine:
        yield engine, engine.workers


def count_readers(workers: int | None, devices: int = 1) -> int:
    """Return how many other processes read images for each device: the number given, or the cores shared out.

    >>> count_readers(3), count_readers(1)  # with one worker this process reads them
    (3, 0)
    """
    number = default_workers() // max(1, devices) if workers is None else workers
    return number if number > 1 else 0


log = logging.getLogger(__name__)


class Interrupts:
    """While entered, the first SIGINT or SIGTERM sets `number`, and a second one raises KeyboardInterrupt at once.

    `work` names the work under way, which is finished after the first signal. Only the main thread of a program can
    take signals; in another thread nothing changes.
    """

    def __init__(self, work: str) -> None:
        self.number: int | None = None
        self._work = work
        self._before: dict[int, Any] = {}

    @property
    def wanted(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt(number)
        self.number = number
        log.info("finishing %s under way; interrupt again to leave at once", self._work)
