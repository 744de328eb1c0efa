"""The soak: what the tests show by example, shown by volume. It prints one table, and exits with 1 on any loss.

tools/soak                    all of it (some hours)
tools/soak --minutes 2        a seeded share of each part
tools/soak texts urls         some parts
tools/soak --seed 7 --from 40 texts     go on with chunk 40 of an earlier run with that seed

`texts`  made-up texts through the cleaner: never an error, cleaned twice is cleaned once, plain words stay, linear time
`urls`   addresses of every shape against the id that each was made from, one by one and by the column
`calls`  calls to the stand-in at fault rates of 0.3 to 0.6 with jumping clocks: right states, the pace, flat memory
`kills`  kill -9 at random moments of each command: equal bytes in the end, nothing else there, nothing asked again but
         the call under way
`files`  damaged inputs of each format: one sentence and no output, or a whole output; no traceback
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from counting import Chunk
from tqdm import tqdm

# The whole amount of each part; a part is the module of its name beside this file.
_TOTALS = {"texts": 10_000_000, "urls": 1_000_000, "calls": 1_000_000, "kills": 1_000, "files": 500}
_LOSSES_SHOWN = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="one of: " + ", ".join(_TOTALS))
    parser.add_argument("--minutes", type=float, help="stop each part after its share of this time")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="default: a new one")
    parser.add_argument(
        "--from", type=int, default=0, dest="first", metavar="CHUNK", help="leave out the chunks before"
    )
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 2, help="chunks at a time; default: the cores")
    parser.add_argument("--amount", type=int, metavar="N", help="end each part after so many; default: its whole")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    unknown = set(given.parts) - set(_TOTALS)
    if unknown:
        parser.error(f"no part is called {sorted(unknown)[0]}; there are {', '.join(_TOTALS)}")
    parts = given.parts or list(_TOTALS)
    seconds = given.minutes * 60 / len(parts) if given.minutes else None
    print(f"seed {given.seed}", flush=True)
    share = _Share(given.seed, given.first, given.at_once, seconds, given.amount)
    try:
        losses = [loss for part in parts for loss in _soak(part, share)]
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if losses else 0)


@dataclass(frozen=True)
class _Share:
    """Which chunks of a part to run, how many of them at a time, and for how long."""

    seed: int
    first: int
    at_once: int
    seconds: float | None
    amount: int | None

    def is_over(self, began: float) -> bool:
        return self.seconds is not None and time.monotonic() - began >= self.seconds


def _soak(part: str, share: _Share) -> list[str]:
    """Run chunks of a part until its amount is done or its time is over; print its row, even if stopped, and losses."""
    began, done, amount = time.monotonic(), Chunk(0), share.amount or _TOTALS[part]
    numbers = itertools.count(share.first)
    running: set[Future[Chunk]] = set()
    with (
        tempfile.TemporaryDirectory(prefix=f"soak-{part}-") as scratch,
        ProcessPoolExecutor(share.at_once, mp_context=get_context("spawn")) as pool,
        tqdm(total=amount, desc=part, unit="", disable=None) as bar,
    ):
        try:
            while running or (done.count < amount and not share.is_over(began)):
                while len(running) < share.at_once and done.count < amount and not share.is_over(began):
                    number = next(numbers)
                    running.add(pool.submit(_chunk, part, f"{share.seed} {part} {number}", Path(scratch) / str(number)))
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for each in (future.result() for future in ended):
                    for loss in each.losses[: max(0, _LOSSES_SHOWN - len(done.losses))]:
                        bar.write(f"    {loss}", file=sys.stdout)
                    done += each
                bar.update(done.count - bar.n)
        finally:
            minutes = (time.monotonic() - began) / 60
            notes = ", ".join(f"{name} {value:,}" for name, value in sorted(done.notes.items()))
            which = f"chunks {share.first} to {next(numbers) - 1}" + (", the last ones not ended" if running else "")
            losses = f"losses {len(done.losses):,}"
            print(f"{part:6} {done.count:>12,}  {losses}  {minutes:6.1f} min  {which}  {notes}", flush=True)
    return done.losses


def _chunk(part: str, seed: str, scratch: Path) -> Chunk:
    scratch.mkdir()
    try:
        result: Chunk = importlib.import_module(part).chunk(random.Random(seed), scratch)
    except Exception as error:  # noqa: BLE001  # such as a command that hangs: a loss, and no end of the soak
        result = Chunk(1, [f"{type(error).__name__}: {error}"])
    return Chunk(result.count, [f"[{seed}] {loss}" for loss in result.losses], result.notes)


if __name__ == "__main__":
    main()
