"""Settings for training on a GPU: channels last in memory, and TF32 for 32-bit numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def tuned_for(device: torch.device, model: nn.Module) -> Iterator[None]:
    """Lay out a model's weights for a GPU and allow TF32 for 32-bit products; on other devices change nothing."""
    if device.type != "cuda":
        yield
        return
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
