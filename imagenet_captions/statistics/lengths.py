"""Distributions of whole numbers: exact quantiles, and bins that double in width."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


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
