"""Run a function over many inputs as Ray tasks, here or on a cluster, with results in the order of the inputs.

Each input is one task, which runs the same function as the local engine. (Measured for this work: Ray Data's operators
reach 0.4 to 0.75 of a process pool's speed, plain tasks all of it.) Ray repeats a task whose worker or node dies, so
everything that a task writes must be whole or not there.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import pyarrow as pa

from imagenet_captions.engines.local import apply_packed, pack, unpack
from imagenet_captions.engines.ray_cluster import Cluster
from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly

T = TypeVar("T")
R = TypeVar("R")

TRIES = 5


@dataclass(frozen=True)
class Work(Generic[T, R]):
    """A task's function, and the folder and code version that it must find where it runs."""

    function: Callable[[T], R]
    folder: Path  # what relative paths start from
    code: str | None  # on this machine it is the same


def run_task(work: Work[T, R], item: T) -> bytes:
    """Run one task and return the pickled result.

    Unpickled, the result is a copy: one used from the object store would be read-only and stay there.
    """
    if work.code not in (None, code_digest()):
        raise InputError(
            "a node of the Ray cluster has another version of imagenet-captions or pyarrow than this machine; "
            "install the same on every node"
        )
    if work.folder.is_dir():
        os.chdir(work.folder)
    return pickle.dumps(work.function(item), protocol=5)


@functools.cache
def code_digest() -> str:
    """Return a digest of this package's code and pyarrow's version, on which the bytes of a dataset depend."""
    found = hashlib.sha256(f"pyarrow {pa.__version__}".encode())
    root = Path(__file__).parents[1]
    for file in sorted(root.rglob("*.py")):
        found.update(f"\0{file.relative_to(root).as_posix()}\0".encode() + file.read_bytes())
    return found.hexdigest()


class RayEngine:
    """The engine of Ray tasks, for the length of a `with` block.

    With `address` the tasks run on that cluster, which must see the same files under the same paths; without it, on a
    cluster on this machine that ends with the block. The first work starts Ray.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._cluster = Cluster(address, workers)

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._cluster.stop()

    @property
    def workers(self) -> int:
        """Return the number of workers asked for, or of all CPUs of the cluster."""
        return self._cluster.workers

    def run(self, function: Callable[[T], R], items: Iterable[T], workers: int, threads: bool = False) -> Iterator[R]:
        """Yield function(item) for every item, in order, with at most two items a worker under way.

        An error of the function is raised as it is. Raises StoppedEarly if a task was killed too often.
        """
        ray = self._cluster.started()
        task = ray.remote(num_cpus=1, max_retries=TRIES)(run_task)
        work = ray.put(
            Work(function, Path.cwd(), code_digest() if self._cluster.has_other_machines else None)
        )  # once for all tasks
        pending: deque[Any] = deque()
        try:
            for item in items:
                pending.append(task.remote(work, item))
                if len(pending) >= 2 * workers:
                    yield _result(ray, pending.popleft())
            while pending:
                yield _result(ray, pending.popleft())
        finally:
            self._cluster.give_up(list(pending))

    def map_batches(
        self, function: Callable[[pa.RecordBatch], pa.RecordBatch], batches: Iterable[pa.RecordBatch], workers: int
    ) -> Iterator[pa.RecordBatch]:
        """Yield function(batch) for every batch, in order; a task reads its batch where it lies in the object store."""
        for result in self.run(partial(apply_packed, function), map(pack, batches), workers):
            yield unpack(result)


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
