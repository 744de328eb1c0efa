"""Batches from torch's DataLoader with worker processes; training and evaluation read images with it."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from imagenet_captions.errors import StoppedEarly


def worker_context(workers: int) -> str | None:
    """Return "fork" if worker processes can be forked; they then share the columns of the examples with this one."""
    return "fork" if workers and "fork" in multiprocessing.get_all_start_methods() else None


def read_batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """Yield a loader's batches; raises StoppedEarly if one of its worker processes was killed."""
    try:
        with warnings.catch_warnings():
            # Python 3.12 warns of threads at a fork; these are torch's and Arrow's, which handle forks.
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
            batches = iter(loader)
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise StoppedEarly(
            "a worker process was killed, most often for lack of memory; run the same command again, with fewer "
            "`workers` if it happens twice"
        ) from None
