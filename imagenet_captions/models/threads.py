"""The number of threads that PyTorch computes with: one for models of small images, such as the micro preset's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 64  # pixels a side


@contextmanager
def computing_threads(size: int, threads: int | None = None) -> Iterator[None]:
    """Compute with `threads` threads, for a model that takes images of `size` pixels a side.

    Without a number, a model of small images gets one thread, unless `OMP_NUM_THREADS` is set; other models keep
    PyTorch's own number. The steps of a small model are so short that threads which wait for a busy core cost more
    than they save.
    """
    before = torch.get_num_threads()
    if threads is None:
        threads = 1 if size <= SMALL and "OMP_NUM_THREADS" not in os.environ else before
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
