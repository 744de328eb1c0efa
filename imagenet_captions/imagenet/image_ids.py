"""One form for an image's id, whatever its holder calls the file.

ImageNet's training images are named `n01440764_10026.JPEG`: the class (wnid), a number within the class, no padding.
People keep them in folders, tars, Parquet and lists under names that differ in prefix, suffix and extension; joining
them works only if everyone uses this one function.
"""

from __future__ import annotations

import re

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".webp"})

# Nine digits are far above ImageNet's five or six, and keep a hostile name from growing into an id.
_NAME = re.compile(r"((n[0-9]{8})_[0-9]{1,9})(?:_\2)?(?i:\.(?:jpe?g|png|webp))?")
_WNID_LENGTH = 9


def image_id(name: str) -> str | None:
    """The canonical id in a file name, path or key; None if there is none.

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
    """The class that a canonical id belongs to.

    >>> wnid_of("n01440764_10026")
    'n01440764'
    """
    return image_id[:_WNID_LENGTH]
