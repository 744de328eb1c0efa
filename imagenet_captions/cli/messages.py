"""Show messages of the library on stderr: above progress bars, and with flags in place of parameters."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from imagenet_captions.cli.group import SPECS, Spec

log = logging.getLogger(__name__)

PATIENCE = 0.5  # seconds until a command that shows nothing says its name
_PACKAGE = "imagenet_captions"
_CLEAR_LINE = "\r\x1b[K"

# The number of a process, as torchrun, SLURM and others set it.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
# Parameters of the library whose flags have another name.
_CALLED = {
    "ask_flickr": "no_crawl",
    "path": "plot",
    "refresh_days": "refresh",
    "test_sets": "on",
    "tests": "on",
    "warmup_epochs": "warmup",
    "warmup_steps": "warmup",
}
_PARAMETER = re.compile(r"`(\w+)(?:='?([^'`\s]*)'?)?`")


def in_flags(sentence: str, spec: Spec) -> str:
    """Replace the parameters that a sentence of the library names by flags of the command, or else of another one.

    >>> from imagenet_captions.cli.main import SPECS
    >>> in_flags("give fewer `workers` or `missing='skip'`; `ray start` is not a parameter", SPECS["build"])
    'give fewer --workers or --missing skip; `ray start` is not a parameter'
    """
    return _PARAMETER.sub(lambda found: _in_flag(found[1], found[2], spec) or found[0], sentence)


def _in_flag(parameter: str, value: str | None, spec: Spec) -> str | None:
    name = _CALLED.get(parameter, parameter)
    others = (flag for each in SPECS.values() for flag in each.flags if not flag.is_argument)
    flag = next((flag for flag in (*spec.flags, *others) if flag.name == name), None)
    if flag is None:
        return None
    if value is None or value == "True":
        return flag.spelled
    return flag.names[-1] if value == "False" else f"{flag.spelled} {value}"


class BesideBars(logging.StreamHandler):  # type: ignore[type-arg]  # Python 3.10 takes no argument there
    """A log handler that writes over the progress bar of a terminal, and names flags instead of parameters.

    The bar is drawn again below the line. Bars are left alone, since a library may change them in other threads.
    """

    def __init__(self, spec: Spec) -> None:
        super().__init__(sys.stderr)
        self.spec = spec
        self.silent = True

    def format(self, record: logging.LogRecord) -> str:
        self.silent = False
        line = super().format(record)
        line = in_flags(line, self.spec) if record.name.startswith(_PACKAGE) else line
        return f"{_CLEAR_LINE}{line}" if self.stream.isatty() else line

    def say_name(self) -> None:
        """Log the name of the command, unless something is on the screen already."""
        bars = getattr(sys.modules.get("tqdm"), "tqdm", None)  # not imported yet: no bar either
        if self.silent and not getattr(bars, "_instances", ()):
            log.info("%s ...", self.spec.name)


@contextmanager
def showing_messages(spec: Spec) -> Iterator[BesideBars]:
    """Show what a command logs on stderr; in a terminal its name too, if it shows nothing while it is imported.

    Of other libraries only warnings are shown: some log each request with its address, or where they found credentials.
    """
    beside_bars = BesideBars(spec)
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


def is_first_process() -> bool:
    """Return whether this is the first or only one of several processes, by the variables that Lightning reads."""
    return next((os.environ[name] for name in _RANKS if name in os.environ), "0") == "0"


def say_that_torch_is_loaded(what: str) -> None:
    """Log a line before seconds of imports; of several processes the first one does."""
    if is_first_process():
        log.info("%s: loading PyTorch ...", what)
