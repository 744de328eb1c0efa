"""The settings of `stats`: the images to count, the files to write, and the photos that a page may show."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from imagenet_captions.options import check, option
from imagenet_captions.storage.places import Place, PlaceField


class Thumbnails(str, Enum):
    """The photos that are shown: those whose license allows sharing, all, or none."""

    OPEN = "open"
    ALL = "all"
    NONE = "none"


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
