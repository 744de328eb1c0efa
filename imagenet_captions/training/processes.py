"""Which of the processes that train together this is, and whether there are as many as were asked for."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only

from imagenet_captions.errors import InputError


def process_rank() -> int:
    """The number of this process, 0 for the first or only one, as torchrun, SLURM or Lightning started it."""
    lightnings: Any = rank_zero_only
    return int(lightnings.rank or 0)


def started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return dist.is_available() and dist.is_torchelastic_launched()


def check_torchrun(devices: int, nodes: int) -> None:
    """Raise InputError unless torchrun started as many processes as were asked for; one machine needs no torchrun."""
    if not started_by_torchrun():
        if nodes > 1:
            raise InputError(
                f"`nodes` {nodes} needs torchrun, which starts the same command on every machine; docs/how-to/train.md "
                "and docs/how-to/ablate.md have command lines"
            )
        return
    here, all_of_them = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    if here != devices or all_of_them != devices * nodes:
        raise InputError(
            f"torchrun started {here} processes on this machine and {all_of_them} in all, and `devices` {devices} "
            f"and `nodes` {nodes} ask for {devices} and {devices * nodes}; give its nproc-per-node as `devices` and "
            "its nnodes as `nodes`"
        )


def check_devices(accelerator: str, devices: int) -> None:
    """Raise InputError unless this machine has as many GPUs as the run of this accelerator needs."""
    found = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if accelerator == "gpu" and not found:
        raise InputError(
            "`accelerator` gpu needs a GPU, and PyTorch finds none on this machine; check its driver and that PyTorch "
            "was built for it, or give `accelerator='cpu'`"
        )
    if accelerator != "cpu" and 0 < found < devices:
        raise InputError(
            f"`devices` {devices} asks for more GPUs than this machine has, {found}; give {found} or fewer, or "
            "`accelerator='cpu'`"
        )


def check_launch(devices: int, nodes: int) -> None:
    """Check the same for a training, which SLURM, LSF, MPI or a hand-set NODE_RANK may have started instead."""
    others = (SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    if started_by_torchrun() or not ("NODE_RANK" in os.environ or any(each.detect() for each in others)):
        check_torchrun(devices, nodes)
