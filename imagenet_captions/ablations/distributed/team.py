"""The processes of an ablation under torchrun: the first one leads, and the others follow its calls.

torchrun starts the same command several times on every machine and serves a key-value store to all of them. The leader
numbers its calls, and every follower answers each one. A thread of each process counts up a key, which shows the others
that the process is alive.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar

from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from imagenet_captions.errors import InputError, StoppedEarly
from imagenet_captions.training.processes import started_by_torchrun

_T = TypeVar("_T")

END = "end"
_AGAIN = "run the same command again on every machine to go on"
SIGN_SECONDS, POLL_SECONDS = 5.0, 0.2
_PATIENCE = 600.0  # without a sign of life
_GOODBYES = 10.0  # torchrun kills a process 30 seconds after its SIGTERM


@dataclass(frozen=True)
class Call:
    """A job that the leader asks for, with its parameters; `code` and `reason` say how the ablation ended."""

    job: str
    paths: tuple[str, ...] = ()
    digest: str = ""
    port: int = 0
    code: int = 0
    reason: str = ""


@dataclass(frozen=True)
class FollowerResult:
    """How a job ended on a follower; `stopped` is that of `train_apart.Ended`."""

    rank: int
    host: str
    code: int = 0
    reason: str = ""
    stopped: bool = False


class Team:
    """One of the processes that torchrun started; rank 0 leads.

    Methods raise StoppedEarly if a process that they wait for has gone. A process that fails says so at once; one that
    was killed, or whose machine is lost, is noticed after `patience` seconds without a sign of life.
    """

    def __init__(self, store: Store, rank: int, size: int, patience: float = _PATIENCE) -> None:
        self.rank = rank
        self._store, self._size, self._patience = store, size, patience
        self._calls = 0
        self._looked = 0.0
        self._signs: dict[int, tuple[int, float]] = {}  # by rank: the last sign, and when it was new
        self._over = threading.Event()
        threading.Thread(target=self._live, daemon=True).start()

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self.rank == 0

    def call(self, call: Call) -> int:
        """Ask all followers for a job, and return the number of the call."""
        self._calls += 1
        self._set(f"call-{self._calls}", asdict(call))
        return self._calls

    def next_call(self) -> tuple[int, Call]:
        """Wait for the leader's next call."""
        self._calls += 1
        values = self._wait(f"call-{self._calls}")
        return self._calls, Call(**{**values, "paths": tuple(values["paths"])})

    def answer(self, number: int, code: int = 0, reason: str = "", stopped: bool = False) -> None:
        """Tell the leader how the job of a call ended here."""
        self._set(f"answer-{number}-{self.rank}", asdict(self.own(code, reason, stopped)))

    def own(self, code: int = 0, reason: str = "", stopped: bool = False) -> FollowerResult:
        """Return an answer of this process."""
        return FollowerResult(self.rank, socket.gethostname(), code, reason, stopped)

    def answers(self, number: int) -> list[FollowerResult]:
        """Wait for the answers of all followers."""
        return [FollowerResult(**self._wait(f"answer-{number}-{rank}")) for rank in range(1, self._size)]

    def fail(self, number: int) -> None:
        """Let all others know that a call's job has failed here."""
        self._set(f"failed-{number}", {})

    def failed(self, number: int) -> bool:
        """Return whether a call's job has failed anywhere."""
        self._look_for_others()
        return self._there(f"failed-{number}")

    def dismiss(self, code: int, reason: str) -> None:
        """Tell the followers that the ablation ends, and wait until they have answered or are gone."""
        until = time.monotonic() + _GOODBYES
        with suppress(StoppedEarly):
            self.fail(self._calls)  # ends a training that is still running
            number = self.call(Call(END, code=code, reason=reason))
            for rank in range(1, self._size):
                while not (self._there(f"answer-{number}-{rank}") or self._there(f"left-{rank}")):
                    if time.monotonic() > until:
                        return
                    time.sleep(POLL_SECONDS)

    def leave(self, reason: str) -> None:
        """Tell the leader that this process ends, and why."""
        with suppress(StoppedEarly):
            self._set(f"left-{self.rank}", {"host": socket.gethostname(), "reason": reason})

    def close(self) -> None:
        """Stop the signs of life."""
        self._over.set()

    def _live(self) -> None:
        with suppress(RuntimeError):  # the store is gone, and the main thread finds out for itself
            while not self._over.is_set():
                self._store.add(f"alive-{self.rank}", 1)
                self._over.wait(SIGN_SECONDS)

    def _wait(self, key: str) -> dict[str, Any]:
        while not self._there(key):
            self._look_for_others()
            time.sleep(POLL_SECONDS)
        return self._get(key)

    def _look_for_others(self) -> None:
        """Raise StoppedEarly if a follower is gone, or if this process is a follower and the leader is gone."""
        now = time.monotonic()
        if now - self._looked < min(SIGN_SECONDS, self._patience):
            return
        self._looked = now
        for rank in range(1, self._size) if self.leads else [0]:
            if self._there(f"left-{rank}"):
                left = self._get(f"left-{rank}")
                raise StoppedEarly(f"process {rank} on {left['host']} has ended: {left['reason']}; {_AGAIN}")
            sign = _asked(self._store.add, f"alive-{rank}", 0)
            last, since = self._signs.get(rank, (-1, now))
            if sign != last:
                self._signs[rank] = (sign, now)
            elif now - since > self._patience:
                raise StoppedEarly(
                    f"process {rank} of {self._size} has given no sign of life for {self._patience:.0f} seconds; see "
                    f"what it wrote, and {_AGAIN}"
                )

    def _there(self, key: str) -> bool:
        return bool(_asked(self._store.check, [key]))

    def _get(self, key: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(_asked(self._store.get, key))
        return values

    def _set(self, key: str, values: Mapping[str, Any]) -> None:
        _asked(self._store.set, key, json.dumps(values))


def _asked(question: Callable[..., _T], *arguments: object) -> _T:
    """Return the store's answer. The store ends with torchrun on the leader's machine."""
    try:
        return question(*arguments)
    except RuntimeError:  # the base of torch's errors about stores and networks
        raise StoppedEarly(f"the first process of this ablation, or its machine, has gone; {_AGAIN}") from None


@contextmanager
def joined_team() -> Iterator[Team | None]:
    """Join the processes that torchrun started; yields None if there is only one process.

    Within, SIGTERM raises StoppedEarly: torchrun sends it to the processes of a machine where one has failed.
    """
    if not started_by_torchrun() or os.environ["WORLD_SIZE"] == "1":
        yield None
        return
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise InputError("torchrun's max-restarts does not work with `ablate`; leave it out, and " + _AGAIN)
    with _ended_by_sigterm():
        store, rank, size = _asked(next, rendezvous("env://", timeout=timedelta(seconds=_PATIENCE)))
        team = Team(PrefixStore("ablate", store), rank, size)
        try:
            yield team
        finally:
            team.close()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedEarly(f"stopped by a signal; what was finished is kept, {_AGAIN}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
