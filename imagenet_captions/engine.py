"""Run one function over many inputs, in processes or threads of this machine, results in the order of the inputs.

The engine knows nothing of captions: a stage hands it a pure, picklable function and gets back what the function
returns, in order, with a bounded number of inputs under way. The number of workers never shows in a result.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait
from typing import TypeVar

import pyarrow as pa

from imagenet_captions.errors import InputError, StoppedEarly

T = TypeVar("T")
R = TypeVar("R")


def default_workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_workers(workers: int) -> int:
    """The number itself if it is at least one.

    >>> check_workers(2)
    2
    """
    if workers < 1:
        raise InputError(f"--workers {workers} is not possible; give 1 or more")
    return workers


def run(function: Callable[[T], R], items: Iterable[T], workers: int, threads: bool = False) -> Iterator[R]:
    """Yield function(item) for every item, in order; at most two items a worker are held in memory.

    With one worker everything happens in this thread. Otherwise processes are spawned, so that threads of this one
    (Arrow's, SQLite's) are never forked; or threads of this process are used, for a function that spends its time in
    reading, hashing and Arrow, which let go of Python's lock, and would spend as much again on starting a process.
    """
    if workers == 1:
        yield from map(function, items)
        return
    with _pool(workers, threads) as pool:
        pending: deque[Future[R]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= 2 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise StoppedEarly(
                "a worker process was killed, most often for lack of memory; run the same command again, "
                "with fewer --workers if it happens twice"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _pool(workers: int, threads: bool) -> Executor:
    if threads:
        return ThreadPoolExecutor(workers)
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Make this worker end when the process that started it is killed, which a pool's workers do not by themselves.

    They would wait for ever, or write on into files that the next run of the same command is making anew.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_exit_after, args=(parent.sentinel,), daemon=True).start()


def _exit_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def map_batches(
    function: Callable[[pa.RecordBatch], pa.RecordBatch], batches: Iterable[pa.RecordBatch], workers: int
) -> Iterator[pa.RecordBatch]:
    """Yield function(batch) for every batch, in order; batches travel between processes as Arrow IPC.

    Plain pickling of a sliced batch would send the whole buffers that the slice was cut from.
    """
    if workers == 1:
        yield from map(function, batches)
        return
    for result in run(partial(_apply, function), map(_pack, batches), workers):
        yield _unpack(result)


def _apply(function: Callable[[pa.RecordBatch], pa.RecordBatch], packed: bytes) -> bytes:
    return _pack(function(_unpack(packed)))


def _pack(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed


def _unpack(packed: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(packed) as reader:
        return reader.read_next_batch()
