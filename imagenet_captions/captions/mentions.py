"""Find the classes that texts name: all names at once, a column at a time.

Texts and names are brought into the form of `normal_text`, in which one automaton over bytes finds every name on word
boundaries. A second automaton looks for the words that ambiguous names need, only in texts with such a name.
docs/reference/mentions.md says what counts as a name, and which of several that overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from ahocorasick_rs import BytesAhoCorasick, Implementation

from imagenet_captions.captions.normal_text import join_fields, normal_line, normal_lines, patterns
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.class_names import Rule, plurals, vocabulary
from imagenet_captions.imagenet.classes import ClassSet

__all__ = ["Matcher", "as_text", "contains", "join_fields", "matcher"]

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_MOST_NAMES = 20_000  # above this the fast form of the automaton takes too much memory
_NOTHING = -1  # stands for no set of words


class _Search:
    """Patterns to look for, each with any number of values of `width` integers."""

    def __init__(self, values: Mapping[bytes, Iterable[tuple[int, ...]]], width: int) -> None:
        ordered = sorted(values)
        form = Implementation.DFA if len(ordered) <= _MOST_NAMES else Implementation.ContiguousNFA
        self._automaton = BytesAhoCorasick(ordered, implementation=form)
        listed = [sorted(values[pattern]) for pattern in ordered]
        self._starts = np.cumsum([0, *map(len, listed)])
        self._values = np.array([value for each in listed for value in each], np.int64).reshape(-1, width)

    def hits(self, buffer: bytes) -> tuple[Ints, Ints, Ints]:
        """Return the pattern, start and end of every match, including overlapping ones."""
        found = self._automaton.find_matches_as_indexes(buffer, overlapping=True)
        flat = np.fromiter(chain.from_iterable(found), np.int64, 3 * len(found)).reshape(-1, 3)
        return flat[:, 0], flat[:, 1], flat[:, 2]

    def values(self, found: Ints) -> tuple[Ints, Ints]:
        """Return the index of the match and the value, for every value of every matched pattern."""
        counts = self._starts[found + 1] - self._starts[found]
        at = np.repeat(np.arange(len(found)), counts)
        within = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
        return at, self._values[self._starts[found][at] + within]


@dataclass(frozen=True)
class Matcher:
    """Finds the classes that texts name."""

    _names: _Search  # label, index of the set of words that it needs, index of the set that excludes it
    _cues: _Search  # indices of the sets that a word belongs to
    _sets: int
    _fold: bool
    _classes: int

    def find(self, texts: pa.Array) -> pa.ListArray:
        """Return the labels whose names occur in each text, ascending; an empty list for a null.

        >>> matcher().find(pa.array(["A tench and two cranes", "restaurant", None])).to_pylist()
        [[0, 134, 517], [762], []]
        """
        buffer, row_of = normal_lines(texts, self._fold)
        lines, labels, _ = self._named(buffer)
        pairs = np.sort(row_of[lines] * self._classes + labels)
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]
        counts = np.bincount(pairs // self._classes, minlength=len(texts))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array((pairs % self._classes).astype(np.int16)))

    def words(self, texts: Iterable[str]) -> list[tuple[int, str]]:
        """Return the labels whose names occur in the texts of one row, each with the words, as they are searched for.

        >>> matcher().words(["Two Tenches", "tench"])
        [(0, 'tench'), (0, 'tenches')]
        """
        buffer = normal_line(texts, self._fold)
        _, labels, spans = self._named(buffer)
        words = [buffer[start:end].decode().strip() for start, end in spans.tolist()]
        return sorted(set(zip(labels.tolist(), words, strict=True)))

    def _named(self, buffer: bytes) -> tuple[Ints, Ints, Ints]:
        """Return line, label, and start and end of the words, for every name that counts."""
        found, starts, ends = self._names.hits(buffer)
        outer = _outermost(starts, ends)
        at, values = self._names.values(found[outer])
        line_ends = _line_ends(buffer)
        lines = _lines_of(starts[outer], line_ends)[at]
        keep = self._conditions_hold(buffer, line_ends, lines, values[:, 1:])
        chosen = outer[at[keep]]
        return lines[keep], values[keep, 0], np.stack([starts[chosen], ends[chosen]], axis=1)

    def _conditions_hold(self, buffer: bytes, line_ends: Ints, lines: Ints, conditions: Ints) -> Flags:
        """Return whether the line of each reading has a word that it needs and no word that excludes it."""
        keep = np.ones(len(lines), bool)
        ruled = np.flatnonzero((conditions != _NOTHING).any(axis=1))
        if not len(ruled):
            return keep
        ruled_lines, position = np.unique(lines[ruled], return_inverse=True)
        begins = np.concatenate([[0], line_ends + 1])
        excerpt = b"".join([buffer[begins[line] : line_ends[line] + 1] for line in ruled_lines])
        found, starts, _ = self._cues.hits(excerpt)
        at, sets = self._cues.values(found)
        stands = np.zeros((len(ruled_lines), self._sets), bool)
        stands[_lines_of(starts, _line_ends(excerpt))[at], sets[:, 0]] = True
        needs, unless = conditions[ruled].T
        keep[ruled] = ((needs == _NOTHING) | stands[position, needs]) & (
            (unless == _NOTHING) | ~stands[position, unless]
        )
        return keep


@cache
def matcher(case_sensitive: bool = False, curated_only: bool = False, among: ClassSet = ClassSet.ILSVRC2012) -> Matcher:
    """Return the matcher of all names of a set's classes, or only of their first names (open_clip's curated ones)."""
    fold = not case_sensitive
    words = vocabulary(curated_only, among)
    readings: dict[bytes, dict[int, Rule]] = {}
    for spelling, found in words.readings.items():
        for pattern in patterns(spelling, fold):
            readings.setdefault(pattern, {}).update(found)
    sets: dict[frozenset[str], int] = {}  # the numbers of the different sets of words
    for found in readings.values():
        for _, rule in sorted(found.items()):
            for together in filter(None, (rule.needs, rule.unless)):
                sets.setdefault(together, len(sets))
    names: dict[bytes, list[tuple[int, ...]]] = {}
    for pattern, found in readings.items():
        numbers = [(sets.get(rule.needs, _NOTHING), sets.get(rule.unless, _NOTHING)) for rule in found.values()]
        names[pattern] = [(label, *pair) for label, pair in zip(found, numbers, strict=True)]
    for decoy in words.decoys:
        for pattern in patterns(decoy, fold):
            names.setdefault(pattern, [])
    cues: dict[bytes, set[tuple[int, ...]]] = {}
    for together, number in sets.items():
        for cue in chain.from_iterable((word, *plurals(word)) for word in together):
            for pattern in patterns(cue, fold):
                cues.setdefault(pattern, set()).add((number,))
    return Matcher(_Search(names, 3), _Search(cues, 1), len(sets), fold, len(classes.wnids(among)))


def as_text(labels: pa.ListArray) -> pa.Array:
    """Return lists of labels as the dataset stores them: " 5 17 ", or "" for an empty list."""
    numbers = pc.binary_join_element_wise("", labels.values.cast(pa.string()), " ")
    written = pa.ListArray.from_arrays(labels.offsets, numbers)
    joined = pc.binary_join(written, "")
    return pc.binary_join_element_wise(joined, pc.if_else(pc.equal(joined, ""), "", " "), "")


def contains(labels: pa.ListArray, own: pa.Array) -> pa.Array:
    """Return whether each list has the label in the same row of `own`."""
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets.to_numpy()))
    found = labels.flatten().to_numpy() == own.to_numpy()[rows]
    return pa.array(np.bincount(rows[found], minlength=len(labels)) > 0)


def _line_ends(buffer: bytes) -> Ints:
    return np.flatnonzero(np.frombuffer(buffer, np.uint8) == ord("\n"))


def _lines_of(starts: Ints, line_ends: Ints) -> Ints:
    # The space before the first word of a line may be the one after the end of the line before.
    return np.searchsorted(line_ends, starts + 1)


def _outermost(starts: Ints, ends: Ints) -> Ints:
    """Return the indices of the spans that lie inside no other span; no two spans are equal."""
    order = np.lexsort((-ends, starts))
    reached = np.maximum.accumulate(ends[order]) if len(order) else ends
    inside = np.zeros(len(order), bool)
    inside[1:] = ends[order][1:] <= reached[:-1]
    return order[~inside]
