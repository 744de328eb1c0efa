"""The choice of photos that a page may show: a page is a copy, and most photographers have reserved all rights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from imagenet_captions.flickr.photos import allows_sharing

ALL_RIGHTS_RESERVED, UNKNOWN_LICENSE, NOT_WANTED = "all rights reserved", "license not known", "not wanted"


class Thumbnails(str, Enum):
    """The photos that are shown: those whose license allows sharing, all, or none."""

    OPEN = "open"
    ALL = "all"
    NONE = "none"

    def refuses(self, license_id: int | None) -> str:
        """Return the reason for leaving out a photo with this license; "" if it is shown.

        >>> Thumbnails.OPEN.refuses(0), Thumbnails.OPEN.refuses(4), Thumbnails.ALL.refuses(None)
        ('all rights reserved', '', '')
        """
        if self is Thumbnails.NONE:
            return NOT_WANTED
        if self is Thumbnails.ALL or allows_sharing(license_id):
            return ""
        return UNKNOWN_LICENSE if license_id is None else ALL_RIGHTS_RESERVED


def note(left_out: Iterable[str]) -> str:
    """Return a sentence about the photos left out, given the reason for each; "" if all are shown.

    >>> note([ALL_RIGHTS_RESERVED, UNKNOWN_LICENSE, ""])
    'Photos not shown: 2 of 3 (1 all rights reserved, 1 license not known).'
    """
    reasons = list(left_out)
    counts = Counter(filter(None, reasons))
    if not counts:
        return ""
    if counts[NOT_WANTED]:
        return "Photos are not shown, because of --thumbnails none."
    why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    return f"Photos not shown: {sum(counts.values()):,} of {len(reasons):,} ({why})."
