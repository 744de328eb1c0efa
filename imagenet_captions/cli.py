"""Flags → settings → one call. Nothing is decided here, and nothing heavy is imported before a command runs."""

from __future__ import annotations

import os

from imagenet_captions.commands import (
    ablating,
    comparing,
    evaluating,
    experiments,
    export,
    filtering,
    labels,
    rebuild,
    statistics,
    training,
)
from imagenet_captions.commands.app import app
from imagenet_captions.commands.group import SPECS

# Importing a module of commands registers them.
__all__ = [
    "SPECS",
    "ablating",
    "app",
    "comparing",
    "evaluating",
    "experiments",
    "export",
    "filtering",
    "labels",
    "main",
    "rebuild",
    "statistics",
    "training",
]


def main() -> None:
    """The console script."""
    # The system's allocator gives back what was read; Arrow's own holds on to twice the memory, and is no faster here.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    app()


if __name__ == "__main__":
    main()
