"""Conditions on rows, as Arrow expressions.

`imagenet_captions.load`, `datasets.load_dataset(..., filters=condition)` and `pyarrow.dataset` take a condition. `&`,
`|` and `~` combine conditions. No condition is ever null for a row, so `~` keeps exactly the other rows.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError, quoted, require_kind, shortened
from imagenet_captions.flickr.photos import resolve_license
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet, read_list
from imagenet_captions.schema import PROVENANCE_COLUMNS
from imagenet_captions.storage.places import PlaceLike

TEXT_FIELDS = ("title", "description", "tags", "caption")
FIELDS = (*TEXT_FIELDS, "language", *PROVENANCE_COLUMNS, "image")

# The escapes allowed in a pattern for tags: none of them matches the line break between two tags.
_ESCAPES_IN_A_TAG = frozenset("dwSbBQE")
_GROUPS = re.compile(r"\(\?(?::|i\)|i:|P?<[A-Za-z_])")


def require_condition(value: object, name: str = "condition") -> None:
    """Raise InputError if a value is not a condition."""
    require_kind(name, value, pc.Expression, "a condition such as `in_class('dog')`")


def in_class(*names: str | int, among: ClassSet | str = ClassSet.ILSVRC2012) -> pc.Expression:
    """Return the condition for rows of these classes, each given as wnid, index, any of its names, or an ancestor.

    Names and indices are those of the 1000 classes; for a dataset of all classes, give among="all".

    >>> in_class("tench")
    <pyarrow.compute.Expression (wnid == "n01440764")>

    Raises InputError for an unknown name, and for one that has several meanings.
    """
    if not names:
        raise InputError("in_class needs a class; give a wnid, an index or a name")
    return _wnid_in({wnid for name in names for wnid in classes.resolve(name, _set(among))})


def in_list(name: PlaceLike) -> pc.Expression:
    """Return the condition for rows of the classes in a list.

    `name` is one of `classes.list_names()`, or a file with one class per line.
    """
    return _wnid_in(set(read_list(name)))


def has(field: str) -> pc.Expression:
    """Return the condition for rows in which a field has a value.

    A value is a text that is not empty, a tag, a language other than "und", or an image.

    The condition on `image` reads the images, because Arrow filters by whole columns only.

    >>> has("title")
    <pyarrow.compute.Expression (title != "")>
    """
    if field not in FIELDS:
        raise InputError(f"the field must be one of {', '.join(FIELDS)}, not {quoted(field)}")
    if field == "tags":
        return pc.list_value_length(pc.field("tags")) > 0
    if field in TEXT_FIELDS:
        return pc.field(field) != ""
    if field == "language":
        return ~pc.field("language").isin([None, "und"])
    return pc.field(field).is_valid()


def contains(field: str, text: str, ignore_case: bool = True) -> pc.Expression:
    """Return the condition for rows with a text in a text field, or within one of the tags. The text is not a pattern.

    Case is ignored by Unicode's simple folding (so ß is not SS), unless `ignore_case` is False.
    """
    _check_text_field(field)
    require_kind("text", text, str, "a text")
    if not text:
        raise InputError(f"every {field} contains the empty text; give some text, or use has({field!r})")
    column = pc.field(field)
    if field == "tags":
        # Join the tags by a character that is not in the text, so that a match lies within one tag.
        between = next(mark for mark in map(chr, range(10, 0x10000)) if mark not in text)
        column = pc.binary_join(column, between)
    return pc.match_substring(column, text, ignore_case=ignore_case)


def matches(field: str, regex: str) -> pc.Expression:
    """Return the condition for rows in which RE2 finds a regular expression in a text field, or in one of the tags.

    Begin with (?i) to ignore case. `^` and `$` match at the ends of the text or of a tag.

    Raises InputError for an expression that RE2 does not support (look-around, back-references), and for one that
    could match across two tags.
    """
    _check_text_field(field)
    require_kind("regex", regex, str, "a regular expression as text")
    if field == "tags":
        rest = re.sub(r"\\p(?:[LMNPS]|\{[LMNPS][a-z]?\})|\\[^0-9A-Za-z]", "", regex)
        escapes = set(re.findall(r"\\(.)", rest)) - _ESCAPES_IN_A_TAG
        flags = re.sub(_GROUPS, "", rest).count("(?")
        if escapes or flags or "[^" in rest or "[:" in rest or min(rest, default=" ") < " ":
            raise InputError(
                f"the pattern {quoted(regex)} could match across two tags, which are matched one by one; "
                "leave out negated classes ([^…], \\W, \\D), \\s (write a blank), other escapes and flags but (?i)"
            )
        regex = f"(?m)(?:{regex})"
    try:
        pc.match_substring_regex(pa.array([""]), regex)
    except pa.ArrowInvalid as error:
        raise InputError(f"the pattern {quoted(regex)} cannot be used: {shortened(error, 300)}") from None
    if field == "tags":
        return has("tags") & pc.match_substring_regex(pc.binary_join(pc.field("tags"), "\n"), regex)
    return pc.match_substring_regex(pc.field(field), regex)


def language(*codes: str) -> pc.Expression:
    """Return the condition for rows in one of these languages, such as "en" or "de"; "und" is undetermined."""
    for code in codes or ("",):
        if not re.fullmatch("[a-z]{2,3}", str(code)):
            raise InputError(f"{quoted(code)} is not a language code; give one such as 'en', or 'und' for undetermined")
    return pc.field("language").isin(codes)


def license_in(*names: str | int) -> pc.Expression:
    """Return the condition for rows with one of these licenses.

    Each is Flickr's number or a name such as "by", "by-nc-2.0" or "cc0".
    """
    if not names:
        raise InputError("license_in needs a license; give Flickr's number or a name such as 'by'")
    numbers = sorted({number for name in names for number in resolve_license(name)})
    return pc.field("license").isin(pa.array(numbers, pa.int8()))


def names_class(*names: str | int, among: ClassSet | str = ClassSet.ILSVRC2012) -> pc.Expression:
    """Return the condition for rows whose title, description or tags name their own class, or any of the classes given.

    `among` means the same as for `in_class`.
    """
    if not names:
        return pc.field("names_class").isin([True])
    found = _set(among)
    labels = sorted({str(classes.index_of(wnid, found)) for name in names for wnid in classes.resolve(name, found)})
    return pc.match_substring_regex(pc.field("mentions"), f" (?:{'|'.join(labels)}) ")


def in_split(split: str, fraction: float = 0.1) -> pc.Expression:
    """Return the condition for rows of the split "train" or "val"; `fraction` is the share of "val" among all rows.

    A hash of the image id decides, so a row is in the same split in every dataset, and a larger validation share
    contains every smaller one.
    """
    if split not in ("train", "val"):
        raise InputError(f"the split must be train or val, not {quoted(split)}")
    require_kind("fraction", fraction, (int, float), "a share such as 0.1")
    if not 0 < fraction < 1:
        raise InputError(f"the validation share must be between 0 and 1, such as 0.1, not {fraction}")

    def word(value: int) -> pc.Expression:
        return pc.scalar(pa.scalar(value, pa.uint64()))

    # Unsigned 64-bit arithmetic with wrap-around alone, which every Arrow version computes alike. The multipliers are
    # odd, so that they can be inverted: 2^64 over the golden ratio, and the one of Pelle Evensen's rrmxmx.
    image_id = pc.field("image_id")
    wnid = pc.utf8_slice_codeunits(image_id, 1, 9).cast(pa.uint64())
    number = pc.utf8_slice_codeunits(image_id, 10).cast(pa.uint64())  # of nine digits at most
    mixed = pc.multiply(pc.add(pc.multiply(wnid, word(10**9)), number), word(0x9E3779B97F4A7C15))
    mixed = pc.multiply(pc.bit_wise_xor(mixed, pc.shift_right(mixed, word(32))), word(0xD6E8FEB86659FD93))
    is_val = pc.shift_right(mixed, word(32)) < word(round(fraction * (1 << 32)))
    return is_val if split == "val" else ~is_val


def _set(among: ClassSet | str) -> ClassSet:
    try:
        return ClassSet(among)
    except ValueError:
        raise InputError(f"the set of classes must be ilsvrc2012 or all, not {quoted(among)}") from None


def _wnid_in(wnids: set[str]) -> pc.Expression:
    wnid, ordered = pc.field("wnid"), sorted(wnids)
    if len(ordered) == 1:
        return wnid == ordered[0]
    # With the bounds every Arrow version skips row groups that have none; only newer versions do so from a list.
    return wnid.isin(ordered) & (wnid >= ordered[0]) & (wnid <= ordered[-1])


def _check_text_field(field: str) -> None:
    if field not in TEXT_FIELDS:
        raise InputError(f"{quoted(field)} is not a text field; give one of {', '.join(TEXT_FIELDS)}")
