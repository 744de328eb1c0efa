"""What a crawl is told, what it works with, and what it reports."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from imagenet_captions.crawler.limits import CALL_SECONDS, FLICKR_RATE, RetrySettings
from imagenet_captions.crawler.policy import Attempt
from imagenet_captions.crawler.schedule import parse_rate
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist


@dataclass(frozen=True)
class CrawlSettings:
    """How fast, how much and where to ask.

    >>> CrawlSettings(rate="60/min").calls_a_second
    1.0
    """

    rate: str = "3600/h"  # N/s, N/min, N/h, or `unlimited` for a service other than Flickr's own
    limit: int | None = None  # ask for at most so many photos in this run; asking again for one does not count
    refresh_days: float | None = None  # ask again for photos whose answer is older, and for none else
    endpoint: str | None = None  # None: Flickr's
    key_file: Path | None = None  # None: the environment
    tries: int = RetrySettings.tries  # calls for one photo in a run, before the run goes on without it
    deny: Denylist = NOTHING_DENIED  # never asked for
    call_seconds: float = CALL_SECONDS  # from the beginning of a call to the last byte of its answer

    def __post_init__(self) -> None:
        """Refuse what cannot be done, before anything is asked."""
        if self.calls_a_second > FLICKR_RATE and self.asks_flickr:
            raise InputError(
                f"`rate` {self.rate} is more than the 3600 calls an hour that Flickr allows for a key; "
                "give `rate` 3600/h or less, or the `endpoint` of a service of your own"
            )
        if self.limit is not None and self.limit < 0:
            raise InputError(f"`limit` {self.limit} is not possible; give 0 or more")
        if self.refresh_days is not None and not 0 <= self.refresh_days < math.inf:
            raise InputError(f"`refresh_days` {self.refresh_days} is not possible; give a number of days, 0 or more")
        if self.tries < 1:
            raise InputError(f"`tries` {self.tries} is not possible; give 1 or more")
        if not 0 < self.call_seconds < math.inf:
            raise InputError(f"call_seconds {self.call_seconds} must be a number of seconds above 0")

    @property
    def asks_flickr(self) -> bool:
        """Whether Flickr itself is asked, and not a service of one's own."""
        if self.endpoint is None:
            return True
        try:
            host = urlsplit(self.endpoint).hostname or ""
        except ValueError:  # not a URL, which `check_endpoint` says
            return False
        return f".{host.rstrip('.')}".endswith(".flickr.com")

    @property
    def calls_a_second(self) -> float:
        """The pace as a number."""
        return parse_rate(self.rate)

    @property
    def retry(self) -> RetrySettings:
        """How patient the crawl is."""
        return RetrySettings(tries=self.tries, tries_again=min(self.tries, RetrySettings.tries_again))


class Client(Protocol):
    """Asks for one photo; see `flickr.FlickrClient`."""

    def get_info(self, photo_id: str) -> Attempt:
        """Ask once and say what came back; raise nothing."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True)
class Tools:
    """What a crawl takes from the world outside; tests give their own."""

    connect: Callable[[CrawlSettings], Client]
    clock: Callable[[], float] = time.monotonic  # never jumps
    wall: Callable[[], float] = time.time  # may be set back and forth
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = field(default_factory=lambda: random.Random().random)


@dataclass
class CrawlReport:
    """What one run did, in photos."""

    asked: int = 0
    found: int = 0
    not_found: int = 0
    private: int = 0
    unreachable: int = 0  # set aside; the next run asks again
    left: int = 0  # without a final answer yet, those set aside included
    calls: int = 0
