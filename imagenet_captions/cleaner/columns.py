"""Clean whole columns. Most strings are clean already, which Arrow's kernels find out at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.cleaner.encoding import SAFE, SAFE_ALONE
from imagenet_captions.cleaner.text import clean_description, clean_title

# Flickr's machine tags, such as "geo:lat=52.1" or "dc:identifier=http://...", are data for programs.
MACHINE_TAG = r"^[A-Za-z][A-Za-z0-9_]*:[A-Za-z][A-Za-z0-9_]*="

# The same tags occur again and again: the last ones that needed cleaning are kept, in at most 20 MB.
_KEPT, _LONGEST_KEPT = 50_000, 60

# Matches what a rule may change. Other strings are printable, with single spaces, without escapes, addresses and links,
# and their characters beyond ASCII are safe. For RE2.
_NOT_PLAIN = (
    rf"[^ -~{SAFE}{SAFE_ALONE}]|[{SAFE_ALONE}][^ -~]|[^ -~][{SAFE_ALONE}]"
    r"|  |^ | $|&[#A-Za-z]|://|[wW][wW][wW]\.|@|<[aA] |(?i:\[(?:url|link|img|email))"
)
_NOT_PLAIN_HTML = _NOT_PLAIN + r"|<[A-Za-z/!?]"


def clean_titles(titles: pa.Array) -> pa.Array:
    """Apply `text.clean_title` to a column; a null becomes ""."""
    return _cleaned(titles, False, clean_title)


def clean_descriptions(descriptions: pa.Array) -> pa.Array:
    """Apply `text.clean_description` to a column; a null becomes ""."""
    return _cleaned(descriptions, True, clean_description)


def may_change(column: pa.Array, html: bool) -> pa.Array:
    """Return a mask of the texts that a rule may change; all others stay as they are."""
    return pc.match_substring_regex(column, _NOT_PLAIN_HTML if html else _NOT_PLAIN)


def _cleaned(column: pa.Array, html: bool, clean: Callable[[str], str]) -> pa.Array:
    column = pc.fill_null(column, "")
    mask = may_change(column, html)
    suspects = column.filter(mask)
    if not len(suspects):
        return column
    return pc.replace_with_mask(column, mask, pa.array([clean(text) for text in suspects.to_pylist()], pa.string()))


def _clean_tag(tag: str) -> str:
    return _clean_short(tag) if len(tag) <= _LONGEST_KEPT else clean_title(tag)


_clean_short = lru_cache(_KEPT)(clean_title)


def clean_tags(tags: pa.ListArray) -> pa.ListArray:
    """Clean every tag; drop machine tags, empty tags and repeated tags (ignoring case), of which the first stays."""
    # Few of a batch's tags are distinct, so each is looked at once.
    encoded = pc.fill_null(tags.flatten(), "").dictionary_encode()
    values = _cleaned(encoded.dictionary, False, _clean_tag)
    wanted = pc.and_not(pc.not_equal(values, ""), pc.match_substring_regex(values, MACHINE_TAG)).to_numpy(False)
    folded = _folded(values).dictionary_encode().indices.to_numpy()
    chosen = encoded.indices.to_numpy()
    rows = np.repeat(np.arange(len(tags)), pc.fill_null(pc.list_value_length(tags), 0).to_numpy(zero_copy_only=False))
    rows, chosen = rows[wanted[chosen]], chosen[wanted[chosen]]
    first = _is_first(rows * len(values) + folded[chosen])
    ends = np.cumsum(np.bincount(rows[first], minlength=len(tags)))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values.take(pa.array(chosen[first])))


def _is_first(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return a mask of the keys that no key before them equals."""
    numbers = pa.array(keys).dictionary_encode().indices.to_numpy()  # in the order in which keys first occur
    first: npt.NDArray[np.bool_] = np.diff(np.maximum.accumulate(numbers), prepend=-1) > 0
    return first


def _folded(values: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(values)
    mask = pc.invert(pc.string_is_ascii(values))
    foreign = [text.casefold() for text in values.filter(mask).to_pylist()]  # "Straße" is "STRASSE", for Python only
    return pc.replace_with_mask(lower, mask, pa.array(foreign, pa.string())) if foreign else lower
