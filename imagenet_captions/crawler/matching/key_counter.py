"""Count the different ids of each class, among millions of ids that are not kept. Used by `gather`."""

from __future__ import annotations

import numpy as np

from imagenet_captions.crawler.matching.id_keys import Keys, changes, wnid_numbers

_DRAWER = 100_000  # wnids; WordNet's go up to 15,300,358, so that some 150 drawers hold 22,000 classes
FOLD_AT = 1 << 22


class KeyCounter:
    """A set of keys of eight bytes each, kept in drawers by class, so that sorting a drawer needs little memory."""

    def __init__(self) -> None:
        self._drawers: dict[int, list[Keys]] = {}
        self._keys = 0
        self._fold_at = FOLD_AT

    def add(self, keys: Keys) -> None:
        """Add sorted keys."""
        drawers = wnid_numbers(keys) // _DRAWER
        heads = np.flatnonzero(changes(drawers))
        for place, part in zip(heads.tolist(), np.split(keys, heads[1:]), strict=False):
            self._drawers.setdefault(int(drawers[place]), []).append(part.copy())
        self._keys += len(keys)
        if self._keys > self._fold_at:
            self._keys = sum(len(self._fold(drawer)) for drawer in self._drawers)
            self._fold_at = self._keys + max(FOLD_AT, self._keys // 2)

    def by_class(self) -> tuple[Keys, Keys]:
        """Return the sorted numbers of the wnids, and the number of different ids of each."""
        numbers, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for drawer in sorted(self._drawers):
            wnids = wnid_numbers(self._fold(drawer))
            heads = np.flatnonzero(changes(wnids))
            numbers.append(wnids[heads])
            counts.append(np.diff(np.append(heads, len(wnids))))
        return np.concatenate(numbers), np.concatenate(counts)

    def _fold(self, drawer: int) -> Keys:
        """Sort the keys of a drawer and drop repeated ones."""
        keys: Keys = np.concatenate(self._drawers[drawer])
        keys.sort()
        keys = keys[changes(keys)]
        self._drawers[drawer] = [keys]
        return keys
