"""What is measured of a dataset, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from imagenet_captions.outcomes import Outcome
from imagenet_captions.statistics.lengths import Distribution

TEXT_FIELDS = ("title", "description", "tags", "caption")


@dataclass(frozen=True)
class ClassStats:
    """What one of the classes has. Counts are rows, unless they say otherwise."""

    wnid: str
    label: int
    name: str
    rows: int = 0
    title: int = 0  # rows in which the field is not empty
    description: int = 0
    tags: int = 0
    caption: int = 0
    names_class: int | None = None  # None in a dataset made before there was such a column
    images: int | None = None  # rows with an image; None where there are no images to look at
    on_disk: int | None = None  # images of the class among those given, whether they have a row or not
    all_tags: int = 0  # tags, repeated ones counted every time
    unique_tags: int = 0  # upper and lower case are the same


@dataclass(frozen=True)
class Markup:
    """Rows of one field in which something is left that looks like markup or an address."""

    field: str
    html: int  # <b>, </a>, <!--
    entities: int  # &amp; &#39;
    addresses: int  # http://, https://, www.


@dataclass(frozen=True)
class Duplicates:
    """Captions that several rows share, to the letter."""

    texts: int  # different captions that occur more than once
    rows: int  # rows that have one of them
    most: tuple[tuple[str, int], ...]  # the most frequent ones, shortened, and how often each occurs


@dataclass(frozen=True)
class Stats:
    """All that `measure` tells about a dataset; `collect` adds what lies beside the rows."""

    classes: tuple[ClassStats, ...]  # all of the dataset's set, in the order of their labels
    filled: Mapping[str, int]  # "title", or "title or tags" → rows with at least one of them
    languages: Mapping[str | None, int]  # most frequent first, as the next two
    licenses: Mapping[int | None, int]
    sources: Mapping[str, int]
    words: Distribution  # of captions
    characters: Distribution
    markup: tuple[Markup, ...]
    duplicates: Duplicates
    unique_tags: int
    image_source: str | None = None  # "column" or "given"; None where there are no images to look at
    funnel: Mapping[Outcome, int] | None = None

    def __str__(self) -> str:
        """Return the tables that the command `stats` prints."""
        from imagenet_captions.statistics.render import as_text
        from imagenet_captions.statistics.sections import sections

        return as_text(sections(self))

    @property
    def rows(self) -> int:
        """Rows of the dataset."""
        return sum(entry.rows for entry in self.classes)

    @property
    def per_class(self) -> Distribution:
        """Rows per class, empty classes included."""
        counts: dict[int, int] = {}
        for entry in self.classes:
            counts[entry.rows] = counts.get(entry.rows, 0) + 1
        return Distribution(counts)

    @property
    def rarest_first(self) -> tuple[ClassStats, ...]:
        """The classes that have rows, the rarest first; of equals the lower label first."""
        return tuple(sorted((entry for entry in self.classes if entry.rows), key=lambda entry: entry.rows))

    @property
    def all_tags(self) -> int:
        """Tags in all rows, repeated ones counted every time."""
        return sum(entry.all_tags for entry in self.classes)

    @property
    def names_class(self) -> int | None:
        """Rows whose texts name their class; None where the dataset does not tell."""
        return _summed(entry.names_class for entry in self.classes)

    @property
    def images(self) -> int | None:
        """Rows that have an image; None where there are no images to look at."""
        return _summed(entry.images for entry in self.classes)

    @property
    def on_disk(self) -> int | None:
        """Images among those given, whether they have a row or not; None where none were given."""
        return _summed(entry.on_disk for entry in self.classes)


def _summed(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
