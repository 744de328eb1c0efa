"""Which of the 1000 classes does a text name? All names at once, a column at a time.

A text is first brought into a form in which every word and every mark stands between single blanks. A name in the same
form, with a blank at either end, is then found only on word boundaries, so that one automaton over plain bytes does
the whole search and nothing is looked at twice:

    "Golden-Retriever's ball!"  ──►  " golden retriever ' s ball | "  ◄──  " golden retriever "

docs/mentions.md says what counts as a word, as a name, and as the same name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from ahocorasick_rs import BytesAhoCorasick, Implementation

from imagenet_captions import classes
from imagenet_captions.class_names import Rule, plurals, vocabulary

Ints = npt.NDArray[np.int64]

_END = b"\xff"  # of a text; no UTF-8 has this byte
_STOP = "|"  # what any mark becomes that no name can run across
_BLANKS = b" \t\n\r\v\f_"
_JOINING_HYPHEN = re.compile(rb"-(?<=[0-9A-Za-z\x80-\xfe]-)(?=[0-9A-Za-z\x80-\xfe])")

# Written without blanks between words, so that a Latin word between them stands by itself: Thai, Lao, Myanmar, Khmer,
# Hangul (whose particles follow a word at once), kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u303f\u3040-\u31ff\u3400-\u4dbf\u4e00-\ua4cf"
    "\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
_UNSPACED_LETTER = re.compile(f"[{_UNSPACED}]")
_FOREIGN = re.compile(rb"[\x80-\xfe]+")
_FOREIGN_HYPHENS, _FOREIGN_APOSTROPHES, _ZERO_WIDTH_BLANK = "\u2010\u2011", "\u2018\u2019\u201b\u2032", "\u200b"


@dataclass(frozen=True)
class _Readings:
    """What each pattern stands for: reading `starts[p]` to `starts[p + 1]`, each a label with its conditions."""

    starts: Ints
    labels: Ints
    needs: Ints  # number of a set of words, -1 for none
    unless: Ints


@dataclass(frozen=True)
class Matcher:
    """Finds the classes that texts name."""

    _automaton: BytesAhoCorasick
    _readings: _Readings
    _spans: npt.NDArray[np.bool_]  # patterns that are a name or a decoy, and so hide what lies inside them
    _cues: _Readings  # the sets of words (as labels) that a pattern belongs to
    _fold: bool

    def find(self, texts: pa.Array) -> pa.ListArray:
        """The labels whose names stand in each text, ascending; an empty list for none, and for a null.

        >>> matcher().find(pa.array(["A tench and two cranes", "restaurant", None])).to_pylist()
        [[0, 134, 517], [762], []]
        """
        buffer, row_of = _normal_column(texts, self._fold)
        hits = self._automaton.find_matches_as_indexes(buffer, overlapping=True)
        flat = np.fromiter(chain.from_iterable(hits), np.int64, 3 * len(hits)).reshape(-1, 3)
        patterns, starts, ends = flat[:, 0], flat[:, 1], flat[:, 2]
        text_ends = np.flatnonzero(np.frombuffer(buffer, np.uint8) == ord("\n"))
        rows = row_of[np.searchsorted(text_ends, starts + 1)]
        spans = self._spans[patterns]
        outer = _outermost(starts[spans], ends[spans])
        at, readings = _expanded(self._readings, patterns[spans][outer])
        rows_named, keep = rows[spans][outer][at], np.ones(len(at), bool)
        for conditions, wanted in ((self._readings.needs, True), (self._readings.unless, False)):
            asked = conditions[readings]
            if (some := asked >= 0).any():
                keep[some] &= self._stands(rows_named[some], asked[some], rows, patterns) == wanted
        pairs = np.unique(rows_named[keep] * len(classes.wnids()) + self._readings.labels[readings[keep]])
        counts = np.bincount(pairs // len(classes.wnids()), minlength=len(texts))
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        labels = (pairs % len(classes.wnids())).astype(np.int16)
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(labels))

    def _stands(self, rows: Ints, sets: Ints, hit_rows: Ints, patterns: Ints) -> npt.NDArray[np.bool_]:
        """Whether a word of each set stands in each row."""
        at, cues = _expanded(self._cues, patterns)
        count = int(self._cues.labels.max(initial=0)) + 1
        found = hit_rows[at] * count + self._cues.labels[cues]
        return np.isin(rows * count + sets, found)


@cache
def matcher(case_sensitive: bool = False, curated_only: bool = False) -> Matcher:
    """The matcher over all names of all classes, or over open_clip's curated names alone."""
    words = vocabulary(curated_only)
    sets: dict[frozenset[str], int] = {}
    readings: dict[bytes, dict[int, Rule]] = {}
    cues: dict[bytes, set[int]] = {}
    for spelling, found in words.readings.items():
        for pattern in _patterns(spelling, not case_sensitive):
            readings.setdefault(pattern, {}).update(found)
    for rule in {rule for found in readings.values() for rule in found.values()}:
        for cue_set in (rule.needs, rule.unless):
            if cue_set and cue_set not in sets:
                number = sets[cue_set] = len(sets)
                for cue in chain.from_iterable((word, *plurals(word)) for word in cue_set):
                    for pattern in _patterns(cue, not case_sensitive):
                        cues.setdefault(pattern, set()).add(number)
    decoys = {pattern for decoy in words.decoys for pattern in _patterns(decoy, not case_sensitive)}
    patterns = sorted({*readings, *cues, *decoys})
    return Matcher(
        BytesAhoCorasick(patterns, implementation=Implementation.DFA),
        _readings(
            [
                [(label, sets.get(rule.needs, -1), sets.get(rule.unless, -1)) for label, rule in sorted(found.items())]
                for found in (readings.get(pattern, {}) for pattern in patterns)
            ]
        ),
        np.array([pattern in readings or pattern in decoys for pattern in patterns], bool),
        _readings([[(number, -1, -1) for number in sorted(cues.get(pattern, ()))] for pattern in patterns]),
        not case_sensitive,
    )


def as_text(labels: pa.ListArray) -> pa.Array:
    """Lists of labels as the dataset stores them: each between blanks, "" for none.

    >>> as_text(pa.array([[5, 17], []], pa.list_(pa.int16()))).to_pylist()
    [' 5 17 ', '']
    """
    numbers = pa.array([f" {label}" for label in range(len(classes.wnids()))], pa.string())
    written = pa.ListArray.from_arrays(labels.offsets, numbers.take(labels.values))
    joined = pc.binary_join(written, "")
    return pc.binary_join_element_wise(joined, pc.if_else(pc.equal(joined, ""), "", " "), "")


def contains(labels: pa.ListArray, own: pa.Array) -> pa.Array:
    """Whether each list has the label that stands beside it.

    >>> contains(pa.array([[5, 17], []], pa.list_(pa.int16())), pa.array([17, 5])).to_pylist()
    [True, False]
    """
    rows = np.repeat(np.arange(len(labels)), np.diff(labels.offsets.to_numpy()))
    found = labels.flatten().to_numpy() == own.to_numpy()[rows]
    return pa.array(np.bincount(rows[found], minlength=len(labels)) > 0)


def join_fields(columns: Sequence[pa.Array]) -> pa.Array:
    """Columns of texts or of lists of texts as one column in which no name runs from one text into the next."""
    texts = [_joined_items(each) if pa.types.is_list(each.type) else each.cast(pa.string()) for each in columns]
    return pc.binary_join_element_wise(*[pc.fill_null(text, "") for text in texts], _STOP)


def _joined_items(lists: pa.ListArray) -> pa.Array:
    """Each list's texts with a stop after each; a tenth of the time that `pc.binary_join` takes."""
    ended = pc.binary_join_element_wise(pc.fill_null(lists.flatten().cast(pa.string()), ""), "", _STOP)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = _offsets(ended)[np.concatenate([[0], np.cumsum(lengths)])]
    return pa.StringArray.from_buffers(len(lists), pa.py_buffer(offsets.astype(np.int32)), ended.buffers()[2])


def _offsets(texts: pa.Array) -> npt.NDArray[np.int32]:
    """Where each text starts in the array's buffer, and where the last one ends."""
    if not len(texts):
        return np.zeros(1, np.int32)
    return np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]


def _patterns(spelling: str, fold: bool) -> set[bytes]:
    """A spelling in the form in which texts are searched, with and without its apostrophes."""
    found = set()
    for written in {spelling, spelling.replace("'", "")}:
        normal = _normal(written.encode(), fold).rstrip(b" |")
        found.add(b" " + normal.lstrip() + b" ")
    return found


def _normal_column(texts: pa.Array, fold: bool) -> tuple[bytes, Ints]:
    """All texts in one buffer, a line each, and the row that each line is of."""
    texts = pc.fill_null(texts.cast(pa.string()), "")
    plain = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    rows = [np.flatnonzero(plain), np.flatnonzero(~plain)]
    ascii_, foreign = (_buffer(texts.take(pa.array(each))) for each in rows)
    return _normal(ascii_ + _plain(foreign, fold), fold), np.concatenate(rows)


def _buffer(texts: pa.Array) -> bytes:
    """All texts, each with its end."""
    ended = pc.binary_join_element_wise(texts.cast(pa.binary()), b"", _END)
    offsets = _offsets(ended)
    data: bytes = ended.buffers()[2].slice(offsets[0], offsets[-1] - offsets[0]).to_pybytes() if len(ended) else b""
    return data


def _normal(text: bytes, fold: bool) -> bytes:
    """Words and marks between single blanks, of a text that `_plain` has been over."""
    text = text.translate(_FOLDING if fold else _KEEPING)
    text = _JOINING_HYPHEN.sub(b" ", text).replace(b"-", b"|").replace(b"| ", b"|")
    text = b" " + text.replace(b"|", b" | ").replace(b"'", b" ' ").replace(b"\n", b" \n ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


def _byte_table(fold: bool) -> bytes:
    table = bytearray(ord(_STOP) for _ in range(256))
    for byte in range(128):
        if chr(byte).isalnum() or byte in b"-'":
            table[byte] = ord(chr(byte).lower()) if fold else byte
    for byte in _BLANKS:
        table[byte] = ord(" ")
    table[128:] = range(128, 256)  # letters: other characters beyond ASCII are gone by then
    table[_END[0]] = ord("\n")
    return bytes(table)


_FOLDING, _KEEPING = _byte_table(True), _byte_table(False)


def _plain(text: bytes, fold: bool) -> bytes:
    """Only ASCII and letters: a mark beyond ASCII becomes the ASCII mark that it is like.

    Folding may change a text's length ("ß" is "ss"), which does no harm: nobody is given a position in it.
    """
    seen: dict[bytes, bytes] = {}  # the same accented letters come again and again

    def plain(found: re.Match[bytes]) -> bytes:
        run = found[0]
        if run not in seen:
            letters = run.decode()
            seen[run] = "".join(map(_PLAIN.__getitem__, letters.casefold() if fold else letters)).encode()
        return seen[run]

    return _FOREIGN.sub(plain, text)


class _PlainMarks(dict[str, str]):
    """What a character beyond ASCII becomes; worked out when it is first seen."""

    def __missing__(self, character: str) -> str:
        category = unicodedata.category(character)
        if character in _FOREIGN_HYPHENS:
            plain = "-"
        elif character in _FOREIGN_APOSTROPHES:
            plain = "'"
        elif character.isspace() or character == _ZERO_WIDTH_BLANK:
            plain = " "
        elif category == "Cf":  # soft hyphens, joiners, directions: not seen by a reader
            plain = ""
        elif _UNSPACED_LETTER.match(character):
            plain = _STOP
        else:  # an accent belongs to the letter before it
            plain = character if character.isascii() or character.isalnum() or category.startswith("M") else _STOP
        self[character] = plain
        return plain


_PLAIN = _PlainMarks()


def _outermost(starts: Ints, ends: Ints) -> Ints:
    """The numbers of the spans that lie inside no other; no two spans are the same."""
    order = np.lexsort((-ends, starts))
    reached = np.maximum.accumulate(ends[order]) if len(order) else ends
    inside = np.zeros(len(order), bool)
    inside[1:] = ends[order][1:] <= reached[:-1]
    return order[~inside]


def _readings(per_pattern: list[list[tuple[int, int, int]]]) -> _Readings:
    starts = np.cumsum([0, *map(len, per_pattern)])
    flat = np.array([each for readings in per_pattern for each in readings], np.int64).reshape(-1, 3)
    return _Readings(starts, flat[:, 0], flat[:, 1], flat[:, 2])


def _expanded(readings: _Readings, patterns: Ints) -> tuple[Ints, Ints]:
    """Every reading of every hit: the hit's number, and the reading's."""
    counts = readings.starts[patterns + 1] - readings.starts[patterns]
    at = np.repeat(np.arange(len(patterns)), counts)
    within = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    return at, readings.starts[patterns][at] + within
