"""An ablation in several processes, which torchrun or `start_processes` starts: all go through the same list of runs.

They train every run together, as `train` does. The first one alone makes the inputs, tests, and writes the report,
while the others wait. When one fails, all are ended, and the same command goes on.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only
from torch.multiprocessing.spawn import ProcessExitedException, spawn

from imagenet_captions.errors import ImagenetCaptionsError, InputError, StoppedEarly
from imagenet_captions.training.processes import process_rank, started_by_torchrun

_TESTING = timedelta(days=7)  # the others wait while the first process tests
_ALIKE = timedelta(minutes=2)  # within which all processes meet a failure that they share


class Processes:
    """The processes of an ablation; `first` is true for one of them, and for a process alone."""

    def __init__(self) -> None:
        self.first = process_rank() == 0
        self._group: Any = None
        if started_by_torchrun():
            if not dist.is_initialized():
                dist.init_process_group(timeout=_TESTING)
            self._group = dist.new_group(backend="gloo", timeout=_TESTING)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self._group is not None:
            dist.barrier(self._group)

    def share_failure(self, error: InputError) -> None:
        """Return if a training failed in all processes alike, such as one whose loss is NaN; else raise the error."""
        if self._group is not None:
            try:
                dist.monitored_barrier(self._group, timeout=_ALIKE)
            except RuntimeError:
                raise error from None


@contextmanager
def all_processes() -> Iterator[Processes]:
    """Give the processes of this ablation; all but the first one are silent."""
    processes = Processes()
    package = logging.getLogger(__name__.partition(".")[0])
    before = package.level
    if not processes.first:
        package.setLevel(logging.ERROR)
    try:
        yield processes
    finally:
        package.setLevel(before)


def start_processes(work: Callable[[Any], object], settings: Any) -> None:
    """Do the work in a process for each of `settings.devices`; raises what one of them raised, after all have ended."""
    with tempfile.TemporaryDirectory() as scratch, socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
        opened.close()
        said = Path(scratch) / "failed.txt"
        try:
            spawn(_do_as_one, (work, settings, port, said), settings.devices)  # type: ignore[no-untyped-call]
        except ProcessExitedException as ended:
            reason = f"a process ended with exit code {ended.exit_code}; run the same command again to go on"
            failure = StoppedEarly if ended.exit_code == StoppedEarly.exit_code else InputError
            raise failure(said.read_text(encoding="utf-8") if said.exists() else reason) from None


def _do_as_one(rank: int, work: Callable[[Any], object], settings: Any, port: int, said: Path) -> None:
    ranks = {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": settings.devices,
        "LOCAL_WORLD_SIZE": settings.devices,
    }
    meeting = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "GROUP_RANK": 0,
        "TORCHELASTIC_RUN_ID": "ablate",
    }
    os.environ.update({name: str(value) for name, value in {**ranks, **meeting}.items()})
    lightnings: Any = rank_zero_only
    lightnings.rank = rank  # Lightning was imported before the variables were there
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        work(settings)
    except ImagenetCaptionsError as error:
        said.write_text(str(error), encoding="utf-8")
        sys.exit(error.exit_code)
