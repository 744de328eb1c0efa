"""The validation split and the order of sampling; both depend on the image id alone.

Both are the same on every machine and in every version; tests pin the values of some ids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError, quoted, require_kind

SPLITS = ("train", "val")
_RANGE = 1 << 32
_WORD = (1 << 64) - 1
# Odd, so that multiplication is invertible: 2^64 over the golden ratio, and the multiplier of Pelle Evensen's rrmxmx.
_FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_NUMBERS = 10**9  # an id's number has nine digits at most


def split_hash(image_id: str) -> int:
    """Return the hash of an image id, a number below 2^32; ids with a hash below fraction · 2^32 are `val`.

    >>> split_hash("n01440764_10026")
    2029262338
    """
    mixed = (int(image_id[1:9]) * _NUMBERS + int(image_id[10:])) * _FIRST & _WORD
    return ((mixed ^ mixed >> 32) * _SECOND & _WORD) >> 32


def split_condition(split: str, fraction: float) -> pc.Expression:
    """Return the condition for a split, which computes `split_hash` of the column image_id.

    It uses only unsigned 64-bit arithmetic with wrap-around, which every Arrow version computes alike.
    """
    if split not in SPLITS:
        raise InputError(f"the split must be train or val, not {quoted(split)}")
    require_kind("fraction", fraction, (int, float), "a share such as 0.1")
    if not 0 < fraction < 1:
        raise InputError(f"the validation share must be between 0 and 1, such as 0.1, not {fraction}")
    image_id = pc.field("image_id")
    wnid = pc.utf8_slice_codeunits(image_id, 1, 9).cast(pa.uint64())
    number = pc.utf8_slice_codeunits(image_id, 10).cast(pa.uint64())
    mixed = pc.multiply(pc.add(pc.multiply(wnid, _word(_NUMBERS)), number), _word(_FIRST))
    mixed = pc.multiply(pc.bit_wise_xor(mixed, pc.shift_right(mixed, _word(32))), _word(_SECOND))
    is_val = pc.shift_right(mixed, _word(32)) < _word(round(fraction * _RANGE))
    return is_val if split == "val" else ~is_val


def sampling_key(image_id: str, seed: int) -> bytes:
    """Return the key by which rows are sorted for sampling, so that a larger sample contains every smaller one.

    >>> sampling_key("n01440764_10026", 0).hex()
    'aeb464c8594adadfb8db7b87f87dcf3c'
    """
    return hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=16).digest()


def seeded_order(ids: Iterable[str], seed: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows with these ids, in the order of a dataset that is shuffled with this seed.

    The order of any part of the rows is the same, because it depends on each id alone.

    >>> seeded_order(["n01440764_1", "n01440764_2", "n01440764_3"], seed=1).tolist()
    [1, 0, 2]
    """
    keys = np.frombuffer(b"".join(sampling_key(image_id, seed) for image_id in ids), ">u8").reshape(-1, 2)
    return np.lexsort((keys[:, 1], keys[:, 0]))


def sampling_chance(image_id: str, seed: int) -> float:
    """Return a number of at least 0 and below 1; a weighted sample keeps a row if its probability is above it.

    It is the second half of the key. The first half sorts, so that a sample of a weighted sample is a fair one.

    >>> round(sampling_chance("n01440764_10026", 0), 6)
    0.722099
    """
    return (int.from_bytes(sampling_key(image_id, seed)[8:], "big") >> 11) / (1 << 53)


def _word(value: int) -> pc.Expression:
    return pc.scalar(pa.scalar(value, pa.uint64()))
