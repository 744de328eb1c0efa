"""The soak: what the tests show by example, shown by volume. It prints a line a part, and exits with 1 on a loss.

tools/soak                    all of it (some hours)
tools/soak --minutes 2        a seeded share of each part
tools/soak kills files        some parts

`calls`  calls to the stand-in at fault rates of 0.3 to 0.6 with jumping clocks: right states, the pace, flat memory
`kills`  kill -9 at random moments of each command: equal bytes in the end, nothing else there
`files`  damaged inputs of each format: one sentence and no output, or a whole output; no traceback
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import random
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

# The whole amount of each part; a part is the module of its name beside this file. Its `chunk` returns how much it did,
# and the losses.
TOTALS = {"calls": 1_000_000, "kills": 1_000, "files": 500}
Done = tuple[int, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="one of: " + ", ".join(TOTALS))
    parser.add_argument("--minutes", type=float, help="stop each part after its share of this time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: a new one")
    given = parser.parse_args()
    unknown = sorted(set(given.parts) - set(TOTALS))
    if unknown:
        parser.error(f"no part is called {unknown[0]}; there are {', '.join(TOTALS)}")
    parts = given.parts or list(TOTALS)
    seconds = given.minutes * 60 / len(parts) if given.minutes else float("inf")
    print(f"seed {given.seed}", flush=True)
    sys.exit(1 if sum(soak(part, given.seed, seconds) for part in parts) else 0)


def soak(part: str, seed: int, seconds: float) -> int:
    """Run chunks of a part until its amount is done or its time is over; print its losses, and return their number."""
    began, done, losses, numbers = time.monotonic(), 0, 0, itertools.count()
    running: set[Future[Done]] = set()
    with (
        tempfile.TemporaryDirectory(prefix=f"soak-{part}-") as scratch,
        ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool,
    ):
        while True:
            goes_on = done < TOTALS[part] and time.monotonic() - began < seconds
            while goes_on and len(running) < (os.cpu_count() or 1):
                number = next(numbers)
                running.add(pool.submit(_chunk, part, f"{seed} {part} {number}", Path(scratch) / str(number)))
            if not running:
                break
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for count, found in (future.result() for future in ended):
                done, losses = done + count, losses + len(found)
                print(*(f"    {loss}" for loss in found), sep="\n", end="\n" * bool(found), flush=True)
    minutes = (time.monotonic() - began) / 60
    print(f"{part:6} {done:>12,}  losses {losses:,}  {minutes:6.1f} min  {next(numbers)} chunks", flush=True)
    return losses


def _chunk(part: str, seed: str, scratch: Path) -> Done:
    scratch.mkdir()
    try:
        count, losses = importlib.import_module(part).chunk(random.Random(seed), scratch)
    except Exception as error:  # noqa: BLE001  # such as a command that hangs: a loss, and no end of the soak
        count, losses = 1, [f"{type(error).__name__}: {error}"]
    return count, [f"[{seed}] {loss}" for loss in losses]


if __name__ == "__main__":
    main()
