"""Timing side by side: every contender in a process of its own, interleaved, peak memory over the process tree."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil


@dataclass(frozen=True)
class Measured:
    """What one contender took: wall seconds (best of the rounds), CPU seconds and peak memory in MB."""

    name: str
    seconds: float
    cpu: float
    peak_mb: float


def race(contenders: dict[str, list[str]], rounds: int = 3, folder: Path | None = None) -> dict[str, Measured]:
    """Run each command `rounds` times, taking turns, in `folder`, and keep each one's best time and highest peak.

    A command is a Python program as arguments of the interpreter, such as ["-c", "import json"]. Peak memory is the
    largest sum of PSS over the process and its children, sampled every 20 ms.
    """
    seen: dict[str, list[Measured]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, arguments in contenders.items():
            seen[name].append(_once(name, arguments, folder))
    return {
        name: Measured(
            name, min(m.seconds for m in all_), statistics.median(m.cpu for m in all_), max(m.peak_mb for m in all_)
        )
        for name, all_ in seen.items()
    }


def versions(*packages: str) -> str | None:
    """Return the packages with their installed versions, or None if one of them is not installed."""
    try:
        return " ".join(f"{package} {metadata.version(package)}" for package in packages)
    except metadata.PackageNotFoundError:
        return None


def absent(what: str, *packages: str) -> dict[str, Any]:
    """Return the row of a peer that is not installed."""
    return {"what": what, "peer": f"{' '.join(packages)}: not installed"}


def run_program(program: str, *arguments: Path) -> list[str]:
    """The words that a Python program prints, run in a process of its own without a network."""
    return run_words("-c", program, *map(str, arguments))


def run_words(*arguments: str) -> list[str]:
    """The words that the interpreter prints with these arguments, in a process of its own without a network."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"a contender failed:\n{done.stderr[-2000:]}")
    return done.stdout.split()


def _once(name: str, arguments: list[str], folder: Path | None) -> Measured:
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=folder
    )
    peak = [0.0]
    done = threading.Event()
    sampler = threading.Thread(target=_sample, args=(process.pid, peak, done))
    sampler.start()
    before = _children_cpu()
    _, errors = process.communicate()
    seconds = time.perf_counter() - start
    done.set()
    sampler.join()
    if process.returncode:
        raise SystemExit(f"{name} failed with {process.returncode}:\n{errors[-2000:]}")
    return Measured(name, seconds, _children_cpu() - before, peak[0])


def _children_cpu() -> float:
    times = psutil.Process().cpu_times()
    return float(times.children_user + times.children_system)


def _sample(pid: int, peak: list[float], done: threading.Event) -> None:
    while not done.wait(0.02):
        try:
            root = psutil.Process(pid)
            tree = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        total = 0
        for process in tree:
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        peak[0] = max(peak[0], total / 1e6)
