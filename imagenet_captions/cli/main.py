"""Start the command line."""

from __future__ import annotations

import os
import signal

from imagenet_captions.cli.app import app


def main() -> None:
    """Run the console script; SIGTERM ends it as Ctrl-C does."""
    # The system's allocator returns memory to the system; Arrow's own keeps twice as much, and is not faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    signal.signal(signal.SIGTERM, _interrupt)
    app()


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)
