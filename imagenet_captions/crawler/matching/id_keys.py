"""Image ids as 64-bit numbers, so that millions are sorted, joined and counted in little memory.

    n01440764_10026  ->  1440764 | 100260000 | 5      27 bits: wnid, 30 bits: number filled up to nine digits,
                                                      4 bits: digits that the number had

Keys sort exactly as the ids do as text ("n01440764_10026" before "n01440764_9"), and leading zeros survive.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.imagenet.image_ids import IMAGE_ENDING, image_id

Keys = npt.NDArray[np.int64]

_MAX_DIGITS = 9
_DIGITS_BITS = 4
_WNID_SHIFT = _DIGITS_BITS + 30
_POWERS = 10 ** np.arange(_MAX_DIGITS, -1, -1, dtype=np.int64)  # what fills a number of k digits up to nine
_WNID_DIGITS = 8

# image_id() over a column, but for names whose folders hold line breaks.
_NAME = (
    r"^(?:.*[/\\])?n(?P<wnid>[0-9]{8})_(?P<number>[0-9]{1,9})(?:_n(?P<again>[0-9]{8}))?"
    rf"{IMAGE_ENDING}?$"
)


def pack(wnids: Keys, numbers: Keys, digits: Keys) -> Keys:
    """Return the keys of ids from the wnid's number, the number in the class and its count of digits."""
    return (wnids << _WNID_SHIFT) | (numbers * _POWERS[digits] << _DIGITS_BITS) | digits


def wnid_numbers(keys: Keys) -> Keys:
    """Return the number in each id's wnid: 1440764 for n01440764_10026."""
    return keys >> _WNID_SHIFT


def changes(values: Keys) -> npt.NDArray[np.bool_]:
    """Return a mask of the values that differ from the one before; the first is included."""
    changed = np.ones(len(values), np.bool_)
    changed[1:] = values[1:] != values[:-1]
    return changed


def key_of(canonical: str) -> int:
    """Return the key of one canonical id."""
    number = canonical[10:]
    packed = pack(*(np.array([value]) for value in (int(canonical[1:9]), int(number), len(number))))
    return int(packed[0])


def keys_of_names(names: pa.StringArray) -> pa.Int64Array:
    """Return the key of the id in each name, as `image_id` finds it; null for none.

    >>> keys = keys_of_names(pa.array(["train/n01440764_10026.JPEG", "n01440764_10026_n01440764.JPEG", "README"]))
    >>> keys.null_count, image_ids(np.unique(keys.drop_null())).to_pylist()
    (1, ['n01440764_10026'])
    """
    found = pc.extract_regex(names, _NAME)
    wnids, numbers, again = (pc.struct_field(found, [place]) for place in range(3))
    plain = pc.fill_null(pc.or_(pc.equal(pc.binary_length(again), 0), pc.equal(again, wnids)), False)
    keys = pa.array(
        pack(_as_numbers(wnids), _as_numbers(numbers), _lengths(numbers)), mask=~plain.to_numpy(zero_copy_only=False)
    )
    rest = pc.is_null(found)
    if pc.any(rest).as_py():
        ids = [image_id(name) for name in names.filter(rest).to_pylist()]
        values = pa.array([None if found is None else key_of(found) for found in ids], pa.int64())
        keys = pc.replace_with_mask(keys, rest, values)
    return keys


def _as_numbers(digits: pa.StringArray) -> Keys:
    values: Keys = pc.fill_null(digits, "0").cast(pa.int64()).to_numpy()
    return values


def _lengths(digits: pa.StringArray) -> Keys:
    lengths: Keys = pc.binary_length(pc.fill_null(digits, "0")).cast(pa.int64()).to_numpy()
    return lengths


def image_ids(keys: Keys) -> pa.StringArray:
    """Return the canonical ids of keys, in their order.

    >>> image_ids(np.array([key_of("n01440764_10026"), key_of("n01440764_007")])).to_pylist()
    ['n01440764_10026', 'n01440764_007']
    """
    lengths = keys & (2**_DIGITS_BITS - 1)
    number = (keys >> _DIGITS_BITS) & (2**30 - 1)
    letters = np.empty((len(keys), 2 + _WNID_DIGITS + _MAX_DIGITS), np.uint8)
    letters[:, 0] = ord("n")
    _write_digits(letters[:, 1 : 1 + _WNID_DIGITS], wnid_numbers(keys))
    letters[:, 1 + _WNID_DIGITS] = ord("_")
    _write_digits(letters[:, 2 + _WNID_DIGITS :], number)
    kept = np.arange(letters.shape[1]) < (2 + _WNID_DIGITS + lengths)[:, None]
    return _strings(letters[kept], 2 + _WNID_DIGITS + lengths)


def wnids(numbers: Keys) -> pa.StringArray:
    """Return the wnids for their numbers: n01440764 for 1440764."""
    letters = np.full((len(numbers), 1 + _WNID_DIGITS), ord("n"), np.uint8)
    _write_digits(letters[:, 1:], numbers)
    return _strings(letters.ravel(), np.full(len(numbers), 1 + _WNID_DIGITS))


def digest(keys: Keys) -> str:
    """Return the SHA-256 of sorted ids as text, one a line; it does not depend on how people keep the ids."""
    sha = hashlib.sha256()
    for start in range(0, len(keys), 1 << 16):
        sha.update("".join(f"{found}\n" for found in image_ids(keys[start : start + (1 << 16)]).to_pylist()).encode())
    return sha.hexdigest()


def _write_digits(cells: npt.NDArray[np.uint8], numbers: Keys) -> None:
    left = numbers.astype(np.uint32)
    for place in range(cells.shape[1] - 1, -1, -1):
        tens = left // np.uint32(10)
        cells[:, place] = left - tens * np.uint32(10) + np.uint32(ord("0"))
        left = tens


def _strings(letters: npt.NDArray[np.uint8], lengths: Keys) -> pa.StringArray:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(letters))
