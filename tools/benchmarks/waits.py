"""How long a user sees nothing: each command in a terminal, until its first byte and between two of them.

Wall seconds are those of this machine as busy as it is; CPU seconds, of all processes of the command, are beside them.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

_COMMANDS = (
    "demo --out demo",
    "build --release {release} --out built",
    "match --urls {urls} --out matches.parquet",
    "clean --release {release} --out captions.parquet",
    "package --captions captions.parquet --out packaged",
    "verify built",
    "stats built --html page.html",
    "diff built packaged --raw",
    "filter built --class dog --has title --out dogs",
    "filter built --balance 200 --out-ids ids.txt",
    "export built --to release-json --out texts.json",
    "export built --to slim --out slim.csv",
    "export demo --to webdataset --out shards",
    "label-by-text captions.parquet --out labeled.parquet",
    "robustness published --plot figure.svg",
    "publish built a/b --dry-run",
    "ablate all imagenet-captions=463622 yfcc15m=14829396 --dry-run --out paper",
    "train demo --recipe micro-contrastive --batch-size 16 --epochs 2 --out run",
    "evaluate run --on imagenet=demo --prompts 80 --out metrics.json",
    "score demo --model run --out scores.parquet",
)


@dataclass(frozen=True)
class Seen:
    """Something that a command showed: when, in wall and CPU seconds since its start."""

    wall: float
    cpu: float
    text: bytes


def main(release: Path, urls: Path, scratch: Path) -> Iterator[dict[str, Any]]:
    for line in _COMMANDS:
        code, shown = _watch(line.format(release=release, urls=urls).split(), scratch)
        wall = max((after.wall - before.wall for before, after in pairwise(shown)), default=0.0)
        cpu = max((after.cpu - before.cpu for before, after in pairwise(shown)), default=0.0)
        yield {
            "what": line.format(release=release.name, urls=urls.name) + (f" (exit code {code})" if code else ""),
            "first_s": round(shown[0].wall, 2),
            "first_cpu_s": round(shown[0].cpu, 2),
            "longest_silence_s": round(wall, 1),
            "longest_silence_cpu_s": round(cpu, 1),
            "all_s": round(shown[-1].wall, 1),
            "bar": "first_s <= 1",
        }


def _watch(arguments: list[str], folder: Path) -> tuple[int, list[Seen]]:
    """Run a command in a terminal of 100 columns; return its exit code and what it showed, with its end last."""
    start = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.execv(sys.executable, [sys.executable, "-m", "imagenet_captions", *arguments])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process, shown, cpu = psutil.Process(pid), [], 0.0
    while True:
        ready = select.select([terminal], [], [], 0.1)[0]
        cpu = max(cpu, _cpu_of(process))
        try:
            text = os.read(terminal, 1 << 16) if ready else None
        except OSError:  # Linux says so when the other side is closed
            text = b""
        if text is not None:
            shown.append(Seen(time.perf_counter() - start, cpu, text))
        if text == b"":
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def _cpu_of(process: psutil.Process) -> float:
    total = 0.0
    try:
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    except psutil.NoSuchProcess:
        pass
    return total
