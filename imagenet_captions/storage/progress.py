"""Show progress: a bar on stderr in a terminal, elsewhere a line of the log at the start and every half minute."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from tqdm import tqdm
from tqdm.utils import CallbackIOWrapper

from imagenet_captions.storage.places import Place

T = TypeVar("T")

log = logging.getLogger(__name__)

_A_MOMENT = 4 << 20  # bytes that are read before anybody wonders
_LARGE = 100_000  # counts of so many are shown in thousands and millions
_SECONDS = 30.0  # between two lines of a log

Bar: TypeAlias = "tqdm[Any]"


class _Log:
    """The file that tqdm draws in without a terminal: each drawing is a line of the log."""

    def write(self, text: str) -> None:
        if line := text.strip():
            log.info("%s", line.replace("s/ ", " s/"))  # less than one a second, with the blank of the unit

    def flush(self) -> None: ...


@contextmanager
def progress(what: str, total: int, unit: str, done: int = 0) -> Iterator[Bar]:
    """Give a bar to update while the block runs; for a few bytes it shows nothing."""
    in_bytes = unit == "B"
    silent = in_bytes and total < _A_MOMENT
    lines: dict[str, Any] = {}
    if not (silent or sys.stderr.isatty()):
        log.info("%s: %s", what, f"{total / 1e6:,.0f} MB" if in_bytes else f"{total:,} {unit}")
        lines = {
            "file": _Log(),
            "bar_format": "{desc}: {n_fmt}/{total_fmt}{unit}, {rate_fmt}, {remaining} left{postfix}",
            "leave": False,
            "mininterval": _SECONDS,
            "delay": _SECONDS,
            "miniters": 0,
        }
    with tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit if in_bytes else f" {unit}",
        unit_scale=in_bytes or total >= _LARGE,
        disable=silent,
        **lines,
    ) as bar:
        yield bar


def track(items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    """Yield the items, with a bar that counts them."""
    with progress(what, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


@contextmanager
def open_watched(path: Place, what: str) -> Iterator[Any]:
    """Open a file to read its bytes as they are, with a bar for a large one."""
    size = path.stat().st_size
    with path.open("rb") as opened, progress(what, size, "B") as bar:
        # A zip's end is read twice.
        yield CallbackIOWrapper(lambda read: bar.update(min(read, size - bar.n)), opened, "read")
