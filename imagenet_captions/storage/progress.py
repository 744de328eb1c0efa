"""Show progress on stderr: a bar with the time left in a terminal, elsewhere one line when the work begins."""

from __future__ import annotations

import logging
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

Bar: TypeAlias = "tqdm[Any]"


@contextmanager
def progress(what: str, total: int | None, unit: str, done: int = 0) -> Iterator[Bar]:
    """Give a bar to update while the block runs; without a total it shows no time left, and for a few bytes nothing."""
    in_bytes = unit == "B"
    silent = in_bytes and total is not None and total < _A_MOMENT
    scaled = in_bytes or total is None or total >= _LARGE
    with tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit if in_bytes else f" {unit}",
        unit_scale=scaled,
        disable=True if silent else None,  # None: if stderr is not a terminal
    ) as bar:
        if bar.disable and not silent:
            amount = "..." if total is None else f"{total / 1e6:,.0f} MB" if in_bytes else f"{total:,} {unit}"
            log.info("%s: %s", what, amount)
        yield bar


def track(items: Iterable[T], what: str, total: int | None, unit: str) -> Iterator[T]:
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
