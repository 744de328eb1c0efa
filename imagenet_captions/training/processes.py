"""Which of the processes that train together this is."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.utilities import rank_zero_only


def process_rank() -> int:
    """The number of this process, 0 for the first or only one, as torchrun, SLURM or Lightning started it."""
    lightnings: Any = rank_zero_only
    return int(lightnings.rank or 0)
