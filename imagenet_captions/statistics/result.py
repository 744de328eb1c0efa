"""The result of measuring a dataset, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from imagenet_captions.outcomes import Outcome


@dataclass(frozen=True)
class Distribution:
    """The number of occurrences of each whole number.

    >>> words = Distribution({1: 3, 2: 1, 7: 1})
    >>> words.total, words.mean, words.quantile(0.5), words.largest
    (5, 2.4, 1.0, 7)
    """

    counts: Mapping[int, int]

    @cached_property
    def total(self) -> int:
        """Return how many numbers there are."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Return the mean; 0 if there are no numbers."""
        return sum(value * count for value, count in self.counts.items()) / self.total if self.total else 0.0

    @property
    def largest(self) -> int:
        """Return the largest number; 0 if there are none."""
        return max(self.counts, default=0)

    def quantile(self, share: float) -> float:
        """Return a quantile, interpolated as in `numpy.quantile`; 0 if there are no numbers."""
        if not self.total:
            return 0.0
        place = share * (self.total - 1)
        low = self._at(int(place))
        return low + (self._at(min(int(place) + 1, self.total - 1)) - low) * (place - int(place))

    def bins(self) -> tuple[LengthBin, ...]:
        """Return the bins 0, 1, 2 to 3, 4 to 7 and so on, from the first to the last that is not empty.

        >>> [(bin.label, bin.count) for bin in Distribution({1: 3, 2: 1, 7: 1}).bins()]
        [('1', 3), ('2 to 3', 1), ('4 to 7', 1)]
        """
        binned: dict[int, int] = {}
        for value, count in self.counts.items():
            binned[value.bit_length()] = binned.get(value.bit_length(), 0) + count
        return tuple(
            LengthBin(bits, binned.get(bits, 0)) for bits in range(min(binned, default=1), max(binned, default=0) + 1)
        )

    def _at(self, place: int) -> int:
        before = 0
        for value in self._values:
            before += self.counts[value]
            if place < before:
                return value
        return self.largest

    @cached_property
    def _values(self) -> list[int]:
        return sorted(self.counts)


@dataclass(frozen=True)
class LengthBin:
    """The range of numbers with a given number of bits, and how many there are."""

    bits: int
    count: int

    @property
    def label(self) -> str:
        """Return the bounds as text, such as "4 to 7"."""
        low, high = (1 << self.bits) >> 1, (1 << self.bits) - 1
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"


TEXT_FIELDS = ("title", "description", "tags", "caption")


@dataclass(frozen=True)
class ClassStats:
    """The counts of one class. They are numbers of rows, unless a comment says otherwise."""

    wnid: str
    label: int
    name: str
    rows: int = 0
    title: int = 0  # rows in which the field is not empty
    description: int = 0
    tags: int = 0
    caption: int = 0
    names_class: int | None = None  # None for a dataset without this column, made by an early version
    images: int | None = None  # rows with an image; None without images
    on_disk: int | None = None  # given images of the class, with or without a row
    all_tags: int = 0  # tags, repeated ones included
    unique_tags: int = 0  # without regard to case


@dataclass(frozen=True)
class Markup:
    """Rows in which a field still has something that looks like markup or an address."""

    field: str
    html: int  # <b>, </a>, <!--
    entities: int  # &amp; &#39;
    addresses: int  # http://, https://, www.


@dataclass(frozen=True)
class Duplicates:
    """Captions that several rows have in common, letter by letter."""

    texts: int  # different captions that occur more than once
    rows: int  # rows that have one of them
    most: tuple[tuple[str, int], ...]  # the most frequent ones, shortened, with their counts


@dataclass(frozen=True)
class Stats:
    """The statistics of a dataset. `measure` computes them from the rows, and `collect` adds the outcomes."""

    classes: tuple[ClassStats, ...]  # all classes of the dataset's set, in the order of their labels
    filled: Mapping[str, int]  # "title", or "title or tags" → rows with at least one of them
    languages: Mapping[str | None, int]  # most frequent first, as the next two
    licenses: Mapping[int | None, int]
    sources: Mapping[str, int]
    words: Distribution  # of captions
    characters: Distribution
    markup: tuple[Markup, ...]
    duplicates: Duplicates
    unique_tags: int
    image_source: str | None = None  # "column" or "given"; None without images
    funnel: Mapping[Outcome, int] | None = None

    def __str__(self) -> str:
        """Return the tables that the command `stats` prints."""
        from imagenet_captions.statistics.render import as_text
        from imagenet_captions.statistics.sections import sections

        return as_text(sections(self))

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(entry.rows for entry in self.classes)

    @property
    def per_class(self) -> Distribution:
        """Return the distribution of rows per class, empty classes included."""
        counts: dict[int, int] = {}
        for entry in self.classes:
            counts[entry.rows] = counts.get(entry.rows, 0) + 1
        return Distribution(counts)

    @property
    def rarest_first(self) -> tuple[ClassStats, ...]:
        """Return the classes that have rows, the rarest first; of equal ones the lower label first."""
        return tuple(sorted((entry for entry in self.classes if entry.rows), key=lambda entry: entry.rows))

    @property
    def all_tags(self) -> int:
        """Return the number of tags in all rows, repeated ones included."""
        return sum(entry.all_tags for entry in self.classes)

    @property
    def names_class(self) -> int | None:
        """Return the number of rows whose texts name their class; None if the dataset does not say."""
        return _summed(entry.names_class for entry in self.classes)

    @property
    def images(self) -> int | None:
        """Return the number of rows that have an image; None without images."""
        return _summed(entry.images for entry in self.classes)

    @property
    def on_disk(self) -> int | None:
        """Return the number of given images, with or without a row; None if none were given."""
        return _summed(entry.on_disk for entry in self.classes)


def _summed(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
