"""Flags → settings → one call. Nothing is decided here, and nothing heavy is imported before a command runs."""

from __future__ import annotations

from imagenet_captions.commands import filtering, labels, rebuild
from imagenet_captions.commands.app import app

__all__ = ["app", "filtering", "labels", "main", "rebuild"]  # importing a module of commands registers them


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
