"""Count which of the listed photos Flickr still has, by their year of upload."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from typing import Any

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
    return int(photo_id) // _WIDTH if photo_id.isdecimal() else 0  # a list of matches may have been edited
