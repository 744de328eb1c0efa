"""Which photos a page may show, small: it is a copy of them, and most photographers have kept all rights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from imagenet_captions.flickr.licenses import allows_sharing

ALL_RIGHTS_RESERVED, UNKNOWN_LICENSE, NOT_WANTED = "all rights reserved", "licence not known", "not wanted"


class Thumbnails(str, Enum):
    """Which photos are shown: those that may be passed on, all, or none."""

    OPEN = "open"
    ALL = "all"
    NONE = "none"

    def refuses(self, license_id: int | None) -> str:
        """Why a photo with this licence is left out; "" for one that is shown.

        >>> Thumbnails.OPEN.refuses(0), Thumbnails.OPEN.refuses(4), Thumbnails.ALL.refuses(None)
        ('all rights reserved', '', '')
        """
        if self is Thumbnails.NONE:
            return NOT_WANTED
        if self is Thumbnails.ALL or allows_sharing(license_id):
            return ""
        return UNKNOWN_LICENSE if license_id is None else ALL_RIGHTS_RESERVED


def note(left_out: Iterable[str]) -> str:
    """What a page says of the photos that it leaves out, given why each is; "" if it shows all.

    >>> note([ALL_RIGHTS_RESERVED, UNKNOWN_LICENSE, ""])
    'Photos not shown: 2 of 3 (1 all rights reserved, 1 licence not known).'
    """
    reasons = list(left_out)
    counts = Counter(filter(None, reasons))
    if not counts:
        return ""
    if counts[NOT_WANTED]:
        return "Photos are not shown, as --thumbnails none asks."
    why = ", ".join(f"{count:,} {reason}" for reason, count in sorted(counts.items()))
    return f"Photos not shown: {sum(counts.values()):,} of {len(reasons):,} ({why})."
