"""Start the command line; the module of a command is imported when that command is called."""

from __future__ import annotations

import os

from imagenet_captions.cli.app import app
from imagenet_captions.cli.group import SPECS

__all__ = ["SPECS", "app", "main"]


def main() -> None:
    """Run the console script."""
    # The system's allocator returns memory to the system; Arrow's own keeps twice as much, and is not faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    app()
