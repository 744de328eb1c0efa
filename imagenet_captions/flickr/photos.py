"""The licenses and the record of a Flickr photo, and which photos Flickr still has."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imagenet_captions.errors import InputError, quoted

_CC = "https://creativecommons.org"


@dataclass(frozen=True)
class License:
    """A license in Flickr's list."""

    id: int
    short_name: str
    name: str
    url: str | None  # None: all rights reserved has no page


# flickr.photos.licenses.getInfo, as seen 2025-06-19.
LICENSES = (
    License(0, "all-rights-reserved", "All Rights Reserved", None),
    License(1, "by-nc-sa-2.0", "CC BY-NC-SA 2.0", f"{_CC}/licenses/by-nc-sa/2.0/"),
    License(2, "by-nc-2.0", "CC BY-NC 2.0", f"{_CC}/licenses/by-nc/2.0/"),
    License(3, "by-nc-nd-2.0", "CC BY-NC-ND 2.0", f"{_CC}/licenses/by-nc-nd/2.0/"),
    License(4, "by-2.0", "CC BY 2.0", f"{_CC}/licenses/by/2.0/"),
    License(5, "by-sa-2.0", "CC BY-SA 2.0", f"{_CC}/licenses/by-sa/2.0/"),
    License(6, "by-nd-2.0", "CC BY-ND 2.0", f"{_CC}/licenses/by-nd/2.0/"),
    License(7, "no-known-restrictions", "No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
    License(8, "us-government-work", "United States Government Work", "https://www.usa.gov/government-copyright"),
    License(9, "cc0-1.0", "CC0 1.0", f"{_CC}/publicdomain/zero/1.0/"),
    License(10, "pdm-1.0", "Public Domain Mark 1.0", f"{_CC}/publicdomain/mark/1.0/"),
    License(11, "by-4.0", "CC BY 4.0", f"{_CC}/licenses/by/4.0/"),
    License(12, "by-sa-4.0", "CC BY-SA 4.0", f"{_CC}/licenses/by-sa/4.0/"),
    License(13, "by-nd-4.0", "CC BY-ND 4.0", f"{_CC}/licenses/by-nd/4.0/"),
    License(14, "by-nc-4.0", "CC BY-NC 4.0", f"{_CC}/licenses/by-nc/4.0/"),
    License(15, "by-nc-sa-4.0", "CC BY-NC-SA 4.0", f"{_CC}/licenses/by-nc-sa/4.0/"),
    License(16, "by-nc-nd-4.0", "CC BY-NC-ND 4.0", f"{_CC}/licenses/by-nc-nd/4.0/"),
)


def find_license(number: int | None) -> License | None:
    """Return the license with Flickr's number, or None if there is none."""
    return next((entry for entry in LICENSES if entry.id == number), None)


def allows_sharing(number: int | None) -> bool:
    """Return whether a photo with this license may be shared: not if all rights are reserved, or if it is unknown."""
    found = find_license(number)
    return found is not None and found.url is not None


def resolve_license(name: str | int) -> tuple[int, ...]:
    """Return Flickr's numbers for a license given as number, short name or full name; without a version, all versions.

    >>> resolve_license("by"), resolve_license("CC BY 2.0"), resolve_license(9), resolve_license("cc0")
    ((4, 11), (4,), (9,), (9,))
    """
    folded = "-".join(str(name).lower().split()).removeprefix("cc-")
    found = []
    for entry in LICENSES:
        full = "-".join(entry.name.lower().split()).removeprefix("cc-")
        if folded in (str(entry.id), entry.short_name, _without_version(entry.short_name), full):
            found.append(entry.id)
    if not found:
        names = dict.fromkeys(_without_version(entry.short_name) for entry in LICENSES)
        raise InputError(
            f"{quoted(name)} is not a license of Flickr's; "
            f"give a number (0 to {LICENSES[-1].id}) or one of "
            f"{', '.join(names)}, with or without a version as in by-2.0"
        )
    return tuple(found)


def _without_version(short_name: str) -> str:
    return re.sub(r"-[0-9]\.0$", "", short_name)


LATEST_POSIX_TIME = 253402300799  # the end of the year 9999

# The remark on an image whose photo is a video; ImageNet lists the still picture that Flickr shows for it.
STILL = "a still of a video"


@dataclass(frozen=True, kw_only=True)
class PhotoRecord:
    """A photo or video; texts are exactly as given, and unknown fields are None."""

    title: str
    description: str
    tags: list[str]
    owner: str | None  # NSID
    owner_name: str | None
    license: int | None  # Flickr's number
    date_taken: datetime | None  # the camera's clock
    date_posted: int | None  # POSIX seconds
    photo_page: str | None
    is_video: bool


_WIDTH = 10_000_000  # numbers that are counted together: some days of 2008


class Survival:
    """Counts of the photos that Flickr was asked about: those that it has, by year and license, and those gone.

    A photo that is gone has no date. Flickr numbers photos in the order of upload, so it counts for the year that most
    photos of close numbers have.

    >>> survival = Survival()
    >>> survival.add("2737866473", 1_218_000_000, 4)
    >>> survival.add_gone("2737999999")
    >>> survival.result()["years"]
    {'2008': [1, 2]}
    """

    def __init__(self) -> None:
        self._years: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._undated: Counter[int] = Counter()
        self._gone: Counter[int] = Counter()
        self._licenses: Counter[int] = Counter()

    def add(self, photo_id: str, posted: int | None, license_number: int | None) -> None:
        """Count a photo that Flickr has; `posted` is in POSIX seconds."""
        if posted is None:
            self._undated[_close(photo_id)] += 1
        else:
            self._years[_close(photo_id)][time.gmtime(posted).tm_year] += 1
        if license_number is not None:
            self._licenses[license_number] += 1

    def add_gone(self, photo_id: str) -> None:
        """Count a photo that Flickr has no longer, or shows to nobody."""
        self._gone[_close(photo_id)] += 1

    def result(self) -> dict[str, Any]:
        """Return the counts for JSON: `years` has the photos that answer and those asked; {} without an answer."""
        answered: Counter[int] = sum(self._years.values(), Counter())
        if not answered:
            return {}
        gone: Counter[int] = Counter()
        known = sorted(self._years)
        for counts, target in ((self._undated, answered), (self._gone, gone)):
            for numbers, count in counts.items():
                nearest = known[max(0, bisect_right(known, numbers) - 1)]
                target[self._years[nearest].most_common(1)[0][0]] += count
        years = sorted(answered.keys() | gone.keys())
        return {
            "years": {str(year): [answered[year], answered[year] + gone[year]] for year in years},
            "licenses": {str(number): count for number, count in sorted(self._licenses.items())},
        }


def _close(photo_id: str) -> int:
    # A list of matches may have been edited.
    return int(photo_id) // _WIDTH if photo_id.isdecimal() else 0
