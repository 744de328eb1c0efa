"""Bring texts into the form in which `mentions` searches them: words and marks between single spaces, a line a text.

    "Golden-Retriever's ball!"  ──►  " golden retriever ' s ball | "

A name in the same form, with a space at either end, then occurs in a text only on word boundaries, so that a plain
search for bytes finds it. docs/reference/mentions.md says what counts as a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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
    texts = [_joined_items(each) if pa.types.is_list(each.type) else each.cast(pa.string()) for each in columns]
    return pc.binary_join_element_wise(*[pc.fill_null(text, "") for text in texts], _STOP)


def _joined_items(lists: pa.ListArray) -> pa.Array:
    """Join the texts of each list, each followed by a stop, in a tenth of the time of `pc.binary_join`."""
    ended = pc.binary_join_element_wise(pc.fill_null(lists.flatten().cast(pa.string()), ""), "", _STOP)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    offsets = _offsets(ended)[np.concatenate([[0], np.cumsum(lengths)])]
    return pa.StringArray.from_buffers(len(lists), pa.py_buffer(offsets.astype(np.int32)), ended.buffers()[2])


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


def normal_line(texts: Iterable[str], fold: bool) -> bytes:
    """Return the texts of one row as one line, joined as `join_fields` joins them, without Arrow."""
    return _normal(_plain(_STOP.join(texts).encode() + _END, fold), fold)


def normal_lines(texts: pa.Array, fold: bool) -> tuple[bytes, npt.NDArray[np.int64]]:
    """Return all texts in one buffer, a line each, and the row of each line."""
    texts = pc.fill_null(texts.cast(pa.string()), "")
    plain = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    rows = [np.flatnonzero(plain), np.flatnonzero(~plain)]
    ascii_, foreign = (_buffer(texts.take(pa.array(each))) for each in rows)
    return _normal(ascii_ + _plain(foreign, fold), fold), np.concatenate(rows)


def _buffer(texts: pa.Array) -> bytes:
    """Return all texts in one buffer, each followed by `_END`."""
    ended = pc.binary_join_element_wise(texts.cast(pa.binary()), b"", _END)
    offsets = _offsets(ended)
    data: bytes = ended.buffers()[2].slice(offsets[0], offsets[-1] - offsets[0]).to_pybytes() if len(ended) else b""
    return data


def _normal(text: bytes, fold: bool) -> bytes:
    """Put single spaces between the words and marks of a text that `_plain` has returned."""
    text = text.translate(_FOLDING if fold else _KEEPING)
    text = _JOINING_HYPHEN.sub(b" ", text).replace(b"-", b"|")
    text = b" " + text.replace(b"|", b" | ").replace(b"'", b" ' ").replace(b"\n", b" \n ")
    characters = np.frombuffer(text, np.uint8)
    blank = characters == ord(" ")
    return np.delete(characters, np.flatnonzero(blank[1:] & blank[:-1])).tobytes()


def _byte_table(fold: bool) -> bytes:
    table = bytearray(ord(_STOP) for _ in range(256))
    for byte in range(128):
        if chr(byte).isalnum() or byte in b"-'":
            table[byte] = ord(chr(byte).lower()) if fold else byte
    for byte in _BLANKS:
        table[byte] = ord(" ")
    table[128:] = range(128, 256)  # letters; `_plain` has replaced all other characters beyond ASCII
    table[_END[0]] = ord("\n")
    return bytes(table)


_FOLDING, _KEEPING = _byte_table(True), _byte_table(False)


def _plain(text: bytes, fold: bool) -> bytes:
    """Replace every mark beyond ASCII by a similar ASCII mark, so that only ASCII and letters are left.

    Folding may change a text's length ("ß" is "ss"), which does not matter: positions in it are not returned.
    """
    seen: dict[bytes, bytes] = {}  # the same accented letters occur again and again
    parts, at = [], 0
    for start, end in _foreign_runs(text):
        run = text[start:end]
        if run not in seen:
            letters = run.decode()
            seen[run] = "".join(map(_PLAIN.__getitem__, letters.casefold() if fold else letters)).encode()
        parts += [text[at:start], seen[run]]
        at = end
    return b"".join([*parts, text[at:]])


def _foreign_runs(text: bytes) -> list[list[int]]:
    """Return start and end of each run of characters beyond ASCII, in a fifth of the time of a regular expression."""
    characters = np.frombuffer(text, np.uint8)
    foreign = (characters >= 0x80) & (characters != _END[0])
    edges: list[list[int]] = np.flatnonzero(np.diff(foreign, prepend=False, append=False)).reshape(-1, 2).tolist()
    return edges


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
        else:  # an accent belongs to the letter before it
            plain = character if character.isascii() or character.isalnum() or category.startswith("M") else _STOP
        self[character] = plain
        return plain


_PLAIN = _PlainMarks()
