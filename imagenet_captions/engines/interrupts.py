"""Ctrl-C and SIGTERM as a wish to stop: the calls under way are finished and their answers kept."""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

log = logging.getLogger(__name__)


class Interrupts:
    """While entered, the first signal sets `wanted`; a second one sets `leaving` and raises KeyboardInterrupt at once.

    Python swallows an exception that is raised while it deletes an object; whoever waits looks at `leaving` too.

    Only the main thread of a program can take signals; in another one nothing is changed.
    """

    def __init__(self) -> None:
        self.wanted = self.leaving = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            self.leaving = True
            raise KeyboardInterrupt
        self.wanted = True
        log.info("finishing the calls under way; interrupt again to leave at once")
