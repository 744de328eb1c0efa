"""How PyTorch computes: threads on a CPU, memory layout and TF32 on a GPU, and less memory for more time."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from imagenet_captions.errors import InputError

SMALL = 64  # pixels a side


@contextmanager
def cpu_threads(size: int, threads: int | None = None) -> Iterator[None]:
    """Compute with `threads` threads, for a model that takes images of `size` pixels a side.

    Without a number, a model of small images gets one thread, unless `OMP_NUM_THREADS` is set: its steps are so short
    that threads which wait for a busy core cost more than they save.
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
    flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with _products("highest"), flags:
        yield


@contextmanager
def gpu_settings(device: torch.device, model: nn.Module) -> Iterator[None]:
    """Lay out a model's weights for a GPU and allow TF32 for 32-bit products; on other devices change nothing."""
    if device.type == "cuda":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, unused-ignore]
    with _products("high") if device.type == "cuda" else nullcontext():
        yield


@contextmanager
def _products(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


_BLOCK = re.compile(r"(Block|Block2d|Bottleneck|Layer|Residual|ConvNormAct|DepthwiseSeparableConv)$")
_NO_BLOCK = re.compile(r"Norm|Embed|FinalLayer")


def checkpoint_blocks(model: nn.Module) -> int:
    """Keep only the inputs of a model's outermost blocks in training, and return how many blocks there are.

    The rest is computed again in the backward pass: less memory, and about a third more time. The libraries' own
    switches leave out open_clip's ResNets, and let batch statistics count each batch twice.
    """
    blocks = list(_outermost(model))
    if not blocks:
        raise InputError("`grad_checkpointing=True` has no effect on this model, which has no blocks; leave it out")
    for block in blocks:
        block.forward = partial(_computed_again, block, block.forward)
    return len(blocks)


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        name = type(child).__name__
        if _BLOCK.search(name) and not _NO_BLOCK.search(name) and any(True for _ in child.parameters()):
            yield child
        else:
            yield from _outermost(child)


def _computed_again(block: nn.Module, forward: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    def contexts() -> tuple[Any, Any]:
        return nullcontext(), _statistics_as_they_are(block)

    if not (block.training and torch.is_grad_enabled()):
        return forward(*arguments, **named)
    return checkpoint(forward, *arguments, use_reentrant=False, context_fn=contexts, **named)


@contextmanager
def _statistics_as_they_are(block: nn.Module) -> Iterator[None]:
    """Compute a block again without updating its batch statistics a second time."""
    norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
