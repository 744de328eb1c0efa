"""The report of a crawl, and the client, clock and sleep that it works with."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from imagenet_captions.crawler.policy import Attempt
from imagenet_captions.crawler.settings import CrawlSettings


class Client(Protocol):
    """Asks for one photo; `client.FlickrClient` is one."""

    def get_info(self, photo_id: str) -> Attempt:
        """Ask once and return what came back; raises nothing."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True)
class Tools:
    """The client, clocks, sleep and random numbers of a crawl; tests pass their own."""

    connect: Callable[[CrawlSettings], Client]
    clock: Callable[[], float] = time.monotonic  # never jumps
    wall: Callable[[], float] = time.time  # may be set back and forth
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = field(default_factory=lambda: random.Random().random)


@dataclass
class CrawlReport:
    """The counts of one run, in photos."""

    asked: int = 0
    found: int = 0
    not_found: int = 0
    private: int = 0
    unreachable: int = 0  # set aside; the next run asks again
    left: int = 0  # without a final answer yet, those set aside included
    calls: int = 0
