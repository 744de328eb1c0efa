"""The settings of a match and of a crawl."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from imagenet_captions.engines.local import LOCAL, Engine
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.flickr.denylist import DENY, NOTHING_DENIED, Denylist
from imagenet_captions.imagenet.classes import CLASSES, ClassSet
from imagenet_captions.options import check, option
from imagenet_captions.storage.places import PlaceField

FLICKR_ENDPOINT = "https://api.flickr.com/services/rest/"
FLICKR_RATE = 1.0  # "under 3600 queries per hour across the whole key", https://www.flickr.com/services/developer/api/

_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class MatchSettings:
    """The wanted images: those of `ids` (any form of an ImageNet training set), or all in the lists.

    Only images of `classes` are matched; those on the denylist are dropped.
    """

    ids: PlaceField = option(
        "The images to use: an ILSVRC train folder or tar, LOC_train_solution.csv, train_cls.txt, a folder of "
        "imagenet-1k Parquet, or a text file. Default: every id of the list."
    )
    deny: Denylist = option(DENY, NOTHING_DENIED, metavar="PATH")
    classes: ClassSet = option(CLASSES, ClassSet.ILSVRC2012)
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        check(self)

    def recorded(self) -> dict[str, str | None]:
        """Return the settings to record, without the ids, which are an input."""
        return {"classes": self.classes.value, **self.deny.settings()}


@dataclass(frozen=True)
class CrawlSettings:
    """How fast to ask, for how many photos, and where.

    >>> CrawlSettings(rate="60/min").calls_a_second
    1.0
    """

    rate: str = option(
        "Pace of the calls, as N/s, N/min or N/h, never a burst; `unlimited` for a service of your own.", "3600/h"
    )
    limit: int | None = option("Ask for at most this many photos in this run.", least=0)
    refresh_days: float | None = option(
        "Ask again for answers older than this many days, and drop photos that are gone.",
        flag="--refresh",
        metavar="DAYS",
        least=0,
    )
    endpoint: str | None = option("Address of the Flickr API, for a stand-in. Default: Flickr's own.", metavar="URL")
    key_file: PlaceField = option("File with FLICKR_API_KEY=... and FLICKR_API_SECRET=...; default: the environment.")
    tries: int = option("Most attempts for one photo in a run, with growing waits.", 12, least=1)
    deny: Denylist = option(DENY, NOTHING_DENIED, metavar="PATH")

    def __post_init__(self) -> None:
        """Check the values; raises InputError."""
        check(self)
        if self.calls_a_second > FLICKR_RATE and self.asks_flickr:
            raise InputError(
                f"`rate` {self.rate} is more than the 3600 calls an hour that Flickr allows for a key; "
                "give `rate` 3600/h or less, or the `endpoint` of a service of your own"
            )

    @property
    def asks_flickr(self) -> bool:
        """Return whether the endpoint is Flickr's own."""
        try:
            host = urlsplit(self.endpoint or FLICKR_ENDPOINT).hostname or ""
        except ValueError:  # not a URL, which the client says
            return False
        return f".{host.rstrip('.')}".endswith(".flickr.com")

    @property
    def calls_a_second(self) -> float:
        """The rate as a number of calls a second; infinity for `unlimited`."""
        if self.rate.strip() == "unlimited":
            return math.inf
        found = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*/\s*(s|min|h)\s*", self.rate)
        if not found or float(found[1]) == 0:
            raise InputError(
                f"`rate` {quoted(self.rate)} is not a rate; give a number above 0 per s, min or h, such as 3600/h"
            )
        return float(found[1]) / _SECONDS[found[2]]
