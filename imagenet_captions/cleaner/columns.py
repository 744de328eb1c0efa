"""Clean whole columns. Most strings are clean already, which Arrow's kernels find out at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.cleaner.text import clean_description, clean_title

# Flickr's machine tags, such as "geo:lat=52.1" or "dc:identifier=http://...", are data for programs.
MACHINE_TAG = r"^[A-Za-z][A-Za-z0-9_]*:[A-Za-z][A-Za-z0-9_]*="

# Matches what a rule may change. Other strings are printable ASCII with single spaces, without escapes, addresses and
# links. For RE2.
_NOT_PLAIN = r"[^ -~]|  |^ | $|&[#A-Za-z]|://|[wW][wW][wW]\.|@|<[aA] |(?i:\[(?:url|link|img|email))"
_NOT_PLAIN_HTML = _NOT_PLAIN + r"|<[A-Za-z/!?]"


def clean_titles(titles: pa.Array) -> pa.Array:
    """Apply `text.clean_title` to a column; a null becomes ""."""
    return _cleaned(titles, html=False)


def clean_descriptions(descriptions: pa.Array) -> pa.Array:
    """Apply `text.clean_description` to a column; a null becomes ""."""
    return _cleaned(descriptions, html=True)


def may_change(column: pa.Array, html: bool) -> pa.Array:
    """Return a mask of the texts that a rule may change; all others stay as they are."""
    return pc.match_substring_regex(column, _NOT_PLAIN_HTML if html else _NOT_PLAIN)


def _cleaned(column: pa.Array, html: bool) -> pa.Array:
    column = pc.fill_null(column, "")
    mask = may_change(column, html)
    suspects = column.filter(mask)
    if not len(suspects):
        return column
    clean = clean_description if html else clean_title
    # The same tags occur again and again: "naïve" is cleaned once a batch.
    distinct = suspects.dictionary_encode()
    cleaned = pa.array([clean(text) for text in distinct.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(column, mask, cleaned.take(distinct.indices))


def clean_tags(tags: pa.ListArray) -> pa.ListArray:
    """Clean every tag; drop machine tags, empty tags and repeated tags (ignoring case), of which the first stays."""
    values = clean_titles(tags.flatten())
    rows = np.repeat(np.arange(len(tags)), pc.fill_null(pc.list_value_length(tags), 0).to_numpy(zero_copy_only=False))
    wanted = pc.and_not(pc.not_equal(values, ""), pc.match_substring_regex(values, MACHINE_TAG))
    values, rows = values.filter(wanted), rows[wanted.to_numpy(zero_copy_only=False)]
    folded = _folded(values).dictionary_encode()
    keys = rows * max(len(folded.dictionary), 1) + folded.indices.to_numpy(zero_copy_only=False)
    first = np.sort(np.unique(keys, return_index=True)[1])
    ends = np.cumsum(np.bincount(rows[first], minlength=len(tags)))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, values.take(pa.array(first)))


def _folded(values: pa.Array) -> pa.Array:
    lower = pc.utf8_lower(values)
    mask = pc.invert(pc.string_is_ascii(values))
    foreign = [text.casefold() for text in values.filter(mask).to_pylist()]  # "Straße" is "STRASSE", for Python only
    return pc.replace_with_mask(lower, mask, pa.array(foreign, pa.string())) if foreign else lower
