"""How PyTorch computes: the number of threads on a CPU, memory layout and TF32 on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

SMALL = 64  # pixels a side


@contextmanager
def cpu_threads(size: int, threads: int | None = None) -> Iterator[None]:
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


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute 32-bit products in 32 bits on a GPU too, so that a result does not depend on the size of its batch."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def gpu_settings(device: torch.device, model: nn.Module) -> Iterator[None]:
    """Lay out a model's weights for a GPU and allow TF32 for 32-bit products; on other devices change nothing."""
    if device.type != "cuda":
        yield
        return
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
