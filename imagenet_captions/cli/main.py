"""Start the command line; nothing heavy is imported before a command runs."""

from __future__ import annotations

import os

# Importing a module of commands registers them.
from imagenet_captions.cli import (  # noqa: F401
    ablate,
    build,
    evaluate,
    export,
    filter,
    label_by_text,
    publish,
    robustness,
    score,
    stats,
    train,
)
from imagenet_captions.cli.app import app
from imagenet_captions.cli.group import SPECS

__all__ = ["SPECS", "app", "main"]


def main() -> None:
    """Run the console script."""
    # The system's allocator returns memory to the system; Arrow's own keeps twice as much, and is not faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    app()
