"""Start the command line."""

from __future__ import annotations

import os

from imagenet_captions.cli.app import app


def main() -> None:
    """Run the console script."""
    # The system's allocator returns memory to the system; Arrow's own keeps twice as much, and is not faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    app()
