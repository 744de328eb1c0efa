"""Settings of `stats`: images to count, files to write, and the photos that a page may show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from imagenet_captions.flickr.photos import allows_sharing
from imagenet_captions.options import check, option
from imagenet_captions.storage.places import Place, PlaceField

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


@dataclass(frozen=True)
class StatsSettings:
    """What is counted beside the dataset, and the files that are written."""

    images: PlaceField = option(
        "ImageNet as you have it, to count the images that have captions. Default: those inside."
    )
    csv: PlaceField = option("Write a CSV file with a line per class.", metavar="FILE")
    markdown: PlaceField = option("Write the tables as Markdown.", metavar="FILE")
    html: PlaceField = option("Write an HTML page with plots and a searchable gallery.", metavar="FILE")
    thumbnails: Thumbnails = option(
        "Photos in the page: those whose license allows sharing, all (for a page you keep) or none.", Thumbnails.OPEN
    )
    counts: PlaceField = option("Write wnid and rows per class as TSV, for `filter --like`.", metavar="FILE")
    frequencies: PlaceField = option("Write class name and rows per class as TSV, without a header.", metavar="FILE")

    def __post_init__(self) -> None:
        check(self)

    def outputs(self) -> list[Place]:
        """Return the files that are written."""
        files = (self.csv, self.markdown, self.counts, self.frequencies, self.html)
        return [file for file in files if file is not None]
