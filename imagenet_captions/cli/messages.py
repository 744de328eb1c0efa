"""Show messages of the library on stderr: above progress bars, and with flags in place of parameters."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer
from typing import Any

from imagenet_captions.cli.app import Command
from imagenet_captions.errors import printable

log = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds until a command that shows nothing says its name
_PACKAGE = "imagenet_captions"
_CLEAR_LINE = "\r\x1b[K"

# The number of a process, as torchrun, SLURM and others set it.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")


class BesideBars(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 takes no argument there
    """A log handler that writes over the progress bar of a terminal, and names flags instead of parameters.

    The bar is drawn again below the line. Bars are left alone, since a library may change them in other threads.
    """

    def __init__(self, command: Command) -> None:
        super().__init__(sys.stderr)
        self.command = command
        self.silent = True

    def format(self, record: logging.LogRecord) -> str:
        self.silent = False
        line = printable(super().format(record))
        line = self.command.in_flags(line) if record.name.startswith(_PACKAGE) else line
        return f"{_CLEAR_LINE}{line}" if self.stream.isatty() else line

    def say_name(self) -> None:
        """Log the name of the command, unless something is on the screen already."""
        if self.silent and not open_bars():
            log.info("%s ...", self.command.name)


@contextmanager
def showing_messages(command: Command) -> Iterator[BesideBars]:
    """Show what a command logs on stderr; in a terminal its name too, if it shows nothing while it is imported.

    In the end all bars are closed, so that what is printed then has a line of its own.
    Of other libraries only warnings are shown: some log each request with its address, or where they found credentials.
    """
    beside_bars = BesideBars(command)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[beside_bars])
    logging.getLogger(_PACKAGE).setLevel(logging.INFO)
    waiting = Timer(PATIENCE, beside_bars.say_name)
    waiting.daemon = True
    if sys.stderr.isatty() and is_first_process():
        waiting.start()
    try:
        yield beside_bars
    finally:
        waiting.cancel()
        for bar in open_bars():
            bar.close()


def open_bars() -> tuple[Any, ...]:
    """Return the bars on the screen: none before tqdm is imported. An interrupt leaves those of generators open."""
    return tuple(getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ()))


def is_first_process() -> bool:
    """Return whether this is the first or only one of several processes, by the variables that Lightning reads."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"


def say_that_torch_is_loaded(what: str) -> None:
    """Log a line before seconds of imports; of several processes the first one does."""
    if is_first_process():
        log.info("%s: loading PyTorch ...", what)
