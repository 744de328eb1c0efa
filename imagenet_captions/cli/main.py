"""Start the command line."""

from __future__ import annotations

import os
import signal

from imagenet_captions.cli.app import app
from imagenet_captions.errors import interrupt


def main() -> None:
    """Run the console script; SIGTERM ends it as Ctrl-C does."""
    # The system's allocator returns memory to the system; Arrow's own keeps twice as much, and is not faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    signal.signal(signal.SIGTERM, interrupt)
    app()
