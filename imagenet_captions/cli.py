"""Flags → settings → one call. Nothing is decided here, and nothing heavy is imported before a command runs."""

from __future__ import annotations

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

# Importing a module of commands registers them.
__all__ = [
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
    app()


if __name__ == "__main__":
    main()
