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
    found, families = [], {}
    for entry in LICENSES:
        family = re.sub(r"-[0-9]\.0$", "", entry.short_name)
        families[family] = entry
        if _folded(str(name)) in (str(entry.id), entry.short_name, family, _folded(entry.name)):
            found.append(entry.id)
    if not found:
        raise InputError(
            f"{quoted(name)} is not a license of Flickr's; give a number (0 to {LICENSES[-1].id}) "
            f"or one of {', '.join(families)}, with or without a version as in by-2.0"
        )
    return tuple(found)


def _folded(name: str) -> str:
    return "-".join(name.lower().split()).removeprefix("cc-")


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
    """

    def __init__(self) -> None:
        self._years: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self._undated: Counter[int] = Counter()
        self._gone: Counter[int] = Counter()
        self._licenses: Counter[int] = Counter()

    def add(self, photo_id: str, photo: PhotoRecord | None) -> None:
        """Count a photo; without a record, Flickr has it no longer, or shows it to nobody."""
        # A list of matches may have been edited.
        close = int(photo_id) // _WIDTH if photo_id.isdecimal() else 0
        if photo is None:
            self._gone[close] += 1
            return
        if photo.date_posted is None:
            self._undated[close] += 1
        else:
            self._years[close][time.gmtime(photo.date_posted).tm_year] += 1
        if photo.license is not None:
            self._licenses[photo.license] += 1

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
