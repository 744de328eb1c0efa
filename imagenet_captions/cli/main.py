"""Flags → settings → one call. Nothing is decided here, and nothing heavy is imported before a command runs."""

from __future__ import annotations

import os

from imagenet_captions.cli import ablate as ablating
from imagenet_captions.cli import build as rebuild
from imagenet_captions.cli import diff as comparing
from imagenet_captions.cli import evaluate as evaluating
from imagenet_captions.cli import export
from imagenet_captions.cli import filter as filtering
from imagenet_captions.cli import label_by_text as labels
from imagenet_captions.cli import robustness as experiments
from imagenet_captions.cli import stats as statistics
from imagenet_captions.cli import train as training
from imagenet_captions.cli.app import app
from imagenet_captions.cli.group import SPECS

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
