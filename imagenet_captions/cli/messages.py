"""Show messages of the library on stderr: above progress bars, and with flags in place of parameters."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from imagenet_captions.cli.app import Command
from imagenet_captions.errors import printable
from imagenet_captions.storage.faults import require

log = logging.getLogger(__name__)

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

    def format(self, record: logging.LogRecord) -> str:
        line = printable(super().format(record))
        line = self.command.in_flags(line) if record.name.startswith(_PACKAGE) else line
        return f"{_CLEAR_LINE}{line}" if self.stream.isatty() else line


@contextmanager
def showing_messages(command: Command) -> Iterator[None]:
    """Show what a command logs on stderr.

    In the end all bars are closed, so that what is printed then has a line of its own.
    Of other libraries only warnings are shown: some log each request with its address, or where they found credentials.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[BesideBars(command)])
    logging.getLogger(_PACKAGE).setLevel(logging.INFO)
    try:
        yield
    finally:  # an interrupt leaves the bars of generators open
        for bar in tuple(getattr(getattr(sys.modules.get("tqdm"), "tqdm", None), "_instances", ())):
            bar.close()


def is_first_process() -> bool:
    """Return whether this is the first or only one of several processes, by the variables that Lightning reads."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"


def before_torch(what: str, *models: str) -> None:
    """Check what does not need PyTorch, and log a line before seconds of imports; of several processes one does."""
    from imagenet_captions.models.config import check_source

    require("train", what)
    for model in models:
        check_source(model)
    if is_first_process():
        log.info("%s: loading PyTorch ...", what)
