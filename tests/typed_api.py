"""What a user's type checker has to understand; mypy reads this file with the package, and nothing runs it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagenet_captions as ic


def stream(path: Path) -> Iterator[dict[str, Any]]:
    """Yield rows of a dataset; only what is not streamed has a length."""
    yield from ic.load(path, ic.has("title"), streaming=True)


def summary(path: str, streaming: bool) -> tuple[int, int, int, dict[str, int], bool, str]:
    """Return a number or a text of each function."""
    ic.load(path, streaming=streaming)
    counts = ic.filter(path, ic.in_class("dog"), out="dogs")
    equal = ic.diff(path, "dogs").equal
    return len(ic.load(path)), ic.stats(path).rows, ic.verify(path).files, counts, equal, ic.__version__
