"""The id of an image in one form, read from any of the names that people give its file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

# Files with these endings are images, wherever images are read; another format is one more entry here.
IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"})

# Patterns for `re` and for Arrow's columns.
IMAGE_ENDING = rf"(?i:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})"
WNID = "n[0-9]{8}"

# Nine digits are far above ImageNet's five or six, and keep a hostile name from growing into an id.
_NAME = re.compile(rf"(({WNID})_[0-9]{{1,9}})(?:_\2)?{IMAGE_ENDING}?")
_WNID = re.compile(WNID)
WNID_LENGTH = 9


def is_wnid(text: str) -> bool:
    """Return whether a text has the form of a class's id, `n` and eight digits."""
    return _WNID.fullmatch(text) is not None


def image_id(name: str) -> str | None:
    """Return the canonical id in a file name, path or key; None if there is none.

    Folders before the name, an extension in any case, and the class repeated at the end (as in the Parquet of
    ILSVRC/imagenet-1k) are dropped. The result is `n`, eight digits, `_` and one to nine digits, so it is safe as a
    file name, however hostile the input. Leading zeros stay: ImageNet has none, and two names are two ids.

    >>> image_id("n01440764_10026_n01440764.JPEG")
    'n01440764_10026'
    >>> image_id("./train/n01440764/n01440764_10026.jpg")
    'n01440764_10026'
    >>> image_id("ILSVRC2012_val_00000293.JPEG") is None
    True
    """
    base = name[max(name.rfind("/"), name.rfind("\\")) + 1 :]
    found = _NAME.fullmatch(base)
    return found[1] if found else None


def wnid_of(image_id: str) -> str:
    """Return the wnid of a canonical id."""
    return image_id[:WNID_LENGTH]


def wnids_of(image_ids: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Return the wnid of each canonical id in a column."""
    import pyarrow.compute as pc

    return pc.utf8_slice_codeunits(image_ids, 0, WNID_LENGTH)
