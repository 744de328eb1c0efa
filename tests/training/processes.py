"""Run a function in several processes that talk over gloo, meeting at a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_together(function: Callable[..., Any], world_size: int, folder: Path, *arguments: Any) -> list[Any]:
    """What `function(rank, world_size, *arguments)` returned in each of the processes."""
    mp.spawn(_run, (function, world_size, str(folder), arguments), nprocs=world_size)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"result-{rank}.pt", weights_only=False) for rank in range(world_size)]


def _run(rank: int, function: Callable[..., Any], world_size: int, folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    try:
        torch.save(function(rank, world_size, *arguments), Path(folder) / f"result-{rank}.pt")
    finally:
        dist.destroy_process_group()
