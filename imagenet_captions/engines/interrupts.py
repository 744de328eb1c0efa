"""Stop cleanly on Ctrl-C and SIGTERM: finish the work under way, then stop. Used by the crawl and by training."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType
from typing import Any

log = logging.getLogger(__name__)


class Interrupts:
    """While entered, the first signal sets `wanted`; a second one sets `leaving` and raises KeyboardInterrupt at once.

    `work` names the work under way, which is finished after the first signal; `number` is the signal. Only the main
    thread of a program can take signals; in another thread nothing changes.
    """

    def __init__(self, work: str) -> None:
        self.number: int | None = None
        # Python swallows an exception that is raised while it deletes an object, so that loops look at this one too.
        self.leaving = False
        self._work = work
        self._before: dict[int, Any] = {}

    @property
    def wanted(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Put back the handlers that were there before; a second call does nothing."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            self.leaving = True
            raise KeyboardInterrupt
        self.number = number
        log.info("finishing %s under way; interrupt again to leave at once", self._work)
