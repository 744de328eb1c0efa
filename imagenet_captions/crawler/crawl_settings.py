"""The settings of a crawl, its report, and the client, clock and sleep that it works with."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from imagenet_captions.crawler.limits import CALL_SECONDS, FLICKR_RATE, RetrySettings
from imagenet_captions.crawler.policy import Attempt
from imagenet_captions.crawler.schedule import parse_rate
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.storage.places import PlaceField


@dataclass(frozen=True)
class CrawlSettings:
    """How fast to ask, for how many photos, and where.

    >>> CrawlSettings(rate="60/min").calls_a_second
    1.0
    """

    rate: str = "3600/h"  # N/s, N/min, N/h, or `unlimited` for a service other than Flickr's own
    limit: int | None = None  # ask for at most so many photos in this run; asking again for one does not count
    refresh_days: float | None = None  # ask again for photos whose answer is older, and for no others
    endpoint: str | None = None  # None: Flickr's
    key_file: PlaceField = PlaceField()  # None: the environment
    tries: int = RetrySettings.tries  # calls for one photo in a run, after which the run goes on without it
    deny: Denylist = NOTHING_DENIED  # never asked for
    call_seconds: float = CALL_SECONDS  # from the beginning of a call to the last byte of its answer

    def __post_init__(self) -> None:
        """Check the values; raises InputError."""
        if self.calls_a_second > FLICKR_RATE and self.asks_flickr:
            raise InputError(
                f"`rate` {self.rate} is more than the 3600 calls an hour that Flickr allows for a key; "
                "give `rate` 3600/h or less, or the `endpoint` of a service of your own"
            )
        if self.limit is not None and self.limit < 0:
            raise InputError(f"`limit` must be 0 or more, not {self.limit}")
        if self.refresh_days is not None and not 0 <= self.refresh_days < math.inf:
            raise InputError(f"`refresh_days` must be a number of days, 0 or more, not {self.refresh_days}")
        if self.tries < 1:
            raise InputError(f"`tries` must be at least 1, not {self.tries}")
        if not 0 < self.call_seconds < math.inf:
            raise InputError(f"`call_seconds` must be a number of seconds above 0, not {self.call_seconds}")

    @property
    def asks_flickr(self) -> bool:
        """Return whether the endpoint is Flickr's own."""
        if self.endpoint is None:
            return True
        try:
            host = urlsplit(self.endpoint).hostname or ""
        except ValueError:  # not a URL, which `check_endpoint` says
            return False
        return f".{host.rstrip('.')}".endswith(".flickr.com")

    @property
    def calls_a_second(self) -> float:
        """The rate as a number of calls a second."""
        return parse_rate(self.rate)

    @property
    def retry(self) -> RetrySettings:
        """The waits, pauses and numbers of tries."""
        return RetrySettings(tries=self.tries, tries_again=min(self.tries, RetrySettings.tries_again))


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
