"""Find the classes that texts name: all names at once, a column at a time.

Texts and names are brought into one normal form: words and marks between single spaces, a line a text.

    "Golden-Retriever's ball!"  ──►  " golden retriever ' s ball | "

A name in this form occurs only on word boundaries, so that one automaton over bytes finds every name. A second one
looks for the words that ambiguous names need. docs/reference/mentions.md says what counts as a word and as a name.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from ahocorasick_rs import BytesAhoCorasick, Implementation

from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.spellings import Rule, plurals, vocabulary

_END = b"\xff"  # the end of a text; UTF-8 never uses this byte
_STOP = "|"  # replaces every mark that cannot be inside a name
_BLANKS = b" \t\n\r\v\f_"
_JOINING_HYPHEN = re.compile(rb"-(?<=[0-9A-Za-z\x80-\xfe]-)(?=[0-9A-Za-z\x80-\xfe])")

# Scripts without spaces between words, in which a Latin word is a word by itself: Thai, Lao, Myanmar, Khmer, Hangul
# (whose particles directly follow a word), kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u303f\u3040-\u31ff\u3400-\u4dbf\u4e00-\ua4cf"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_FOREIGN_HYPHENS, _FOREIGN_APOSTROPHES, _ZERO_WIDTH_BLANK = "\u2010\u2011", "\u2018\u2019\u201b\u2032", "\u200b"


def join_fields(columns: Sequence[pa.Array]) -> pa.Array:
    """Join columns of texts, or of lists of texts, so that no name runs from one text into the next."""
    texts = []
    for column in columns:
        if not pa.types.is_list(column.type):
            texts.append(pc.fill_null(column.cast(pa.string()), ""))
            continue
        # A stop after each text, and lists of all their bytes: in a tenth of the time of `pc.binary_join`.
        each = pc.fill_null(column.flatten().cast(pa.string()), "")
        ended = pc.binary_join_element_wise(each, "", _STOP)
        lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        offsets = _offsets(ended)[np.concatenate([[0], np.cumsum(lengths)])].astype(np.int32)
        texts.append(pa.StringArray.from_buffers(len(column), pa.py_buffer(offsets), ended.buffers()[2]))
    return pc.binary_join_element_wise(*texts, _STOP)


def _offsets(texts: pa.Array) -> npt.NDArray[np.int32]:
    """Return the start of each text in the array's buffer, and the end of the last one."""
    if not len(texts):
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]


def patterns(spelling: str, fold: bool) -> set[bytes]:
    """Return a spelling in normal form, with and without its apostrophes."""
    found = set()
    for written in {spelling, spelling.replace("'", "")}:
        normal = _normal(written.encode(), fold).rstrip(b" |")
        found.add(b" " + normal.lstrip() + b" ")
    return found


def _normal(text: bytes, fold: bool) -> bytes:
    """Put single spaces between the words and marks of a text that `_plain` has returned."""
    text = text.translate(_FOLDING if fold else _KEEPING)
    text = _JOINING_HYPHEN.sub(b" ", text).replace(b"-", b"|")
    text = b" " + text.replace(b"|", b" | ").replace(b"'", b" ' ").replace(b"\n", b" \n ")
    characters = np.frombuffer(text, np.uint8)
    blank = characters == ord(" ")
    return np.delete(characters, np.flatnonzero(blank[1:] & blank[:-1])).tobytes()


_KEPT = (string.ascii_letters + string.digits + "-'").encode()
_OTHERS = bytes(byte for byte in range(128) if byte not in _KEPT + _BLANKS)
# Bytes above ASCII stay: they are letters, since `_plain` has replaced all other characters beyond ASCII.
_STAND_INS = _STOP.encode() * len(_OTHERS) + b" " * len(_BLANKS) + b"\n"
_KEEPING = bytes.maketrans(_OTHERS + _BLANKS + _END, _STAND_INS)
_FOLDING = _KEEPING.lower()


def _plain(text: bytes, fold: bool) -> bytes:
    """Replace every mark beyond ASCII by a similar ASCII mark, so that only ASCII and letters are left.

    Folding may change a text's length ("ß" is "ss"), which does not matter: positions in it are not returned.
    """
    # Runs of characters beyond ASCII are found in a fifth of the time of a regular expression.
    characters = np.frombuffer(text, np.uint8)
    foreign = (characters >= 0x80) & (characters != _END[0])
    edges = np.flatnonzero(np.diff(foreign, prepend=False, append=False)).reshape(-1, 2)
    seen: dict[bytes, bytes] = {}  # the same accented letters occur again and again
    parts, at = [], 0
    for start, end in edges.tolist():
        run = text[start:end]
        if run not in seen:
            letters = run.decode().casefold() if fold else run.decode()
            seen[run] = "".join(map(_PLAIN.__getitem__, letters)).encode()
        parts += [text[at:start], seen[run]]
        at = end
    return b"".join([*parts, text[at:]])


class _PlainMarks(dict[str, str]):
    """The replacement of each character beyond ASCII, computed when it first occurs."""

    def __missing__(self, character: str) -> str:
        category = unicodedata.category(character)
        if character in _FOREIGN_HYPHENS:
            plain = "-"
        elif character in _FOREIGN_APOSTROPHES:
            plain = "'"
        elif character.isspace() or character == _ZERO_WIDTH_BLANK:
            plain = " "
        elif category == "Cf":  # soft hyphens, joiners and direction marks, which are invisible
            plain = ""
        elif _UNSPACED_LETTER.match(character):
            plain = _STOP
        elif character.isascii() or character.isalnum() or category.startswith("M"):
            plain = character  # an accent belongs to the letter before it
        else:
            plain = _STOP
        self[character] = plain
        return plain


_PLAIN = _PlainMarks()


Ints = npt.NDArray[np.int64]

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
        ended = pc.binary_join_element_wise(pc.fill_null(texts.cast(pa.binary()), b""), b"", _END)
        text = ended.buffers()[2].slice(0, _offsets(ended)[-1]).to_pybytes() if len(ended) else b""
        lines, labels, _ = self._named(_normal(_plain(text, self._fold), self._fold))
        pairs = np.sort(lines * self._classes + labels)
        pairs = pairs[np.diff(pairs, prepend=-1) != 0]
        counts = np.bincount(pairs // self._classes, minlength=len(texts))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        labels = (pairs % self._classes).astype(np.int16)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(labels))

    def words(self, texts: Iterable[str]) -> list[tuple[int, str]]:
        """Return the labels whose names occur in the texts of one row, each with the words, as they are searched for.

        >>> matcher().words(["Two Tenches", "tench"])
        [(0, 'tench'), (0, 'tenches')]
        """
        # Without Arrow, which would import pandas for so little.
        buffer = _normal(_plain(_STOP.join(texts).encode() + _END, self._fold), self._fold)
        _, labels, spans = self._named(buffer)
        words = [buffer[start:end].decode().strip() for start, end in spans.tolist()]
        return sorted(set(zip(labels.tolist(), words, strict=True)))

    def _named(self, buffer: bytes) -> tuple[Ints, Ints, Ints]:
        """Return line, label, and start and end of the words, for every name that counts."""
        found, starts, ends = self._names.hits(buffer)
        order = np.lexsort((-ends, starts))
        inside = np.zeros(len(order), bool)  # of another name; no two spans are equal
        inside[1:] = ends[order][1:] <= np.maximum.accumulate(ends[order])[:-1]
        outer = order[~inside]
        at, values = self._names.values(found[outer])
        line_ends = _line_ends(buffer)
        lines = np.searchsorted(line_ends, starts[outer] + 1)[at]
        keep = self._conditions_hold(buffer, line_ends, lines, values[:, 1:])
        chosen = outer[at[keep]]
        return lines[keep], values[keep, 0], np.stack([starts[chosen], ends[chosen]], axis=1)

    def _conditions_hold(self, buffer: bytes, line_ends: Ints, lines: Ints, conditions: Ints) -> npt.NDArray[np.bool_]:
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
        stands[np.searchsorted(_line_ends(excerpt), starts + 1)[at], sets[:, 0]] = True
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
        names[pattern] = [
            (label, sets.get(rule.needs, _NOTHING), sets.get(rule.unless, _NOTHING)) for label, rule in found.items()
        ]
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
    """Return the ends of lines; the space before the first word of a line may be the end of the line before."""
    return np.flatnonzero(np.frombuffer(buffer, np.uint8) == ord("\n"))
