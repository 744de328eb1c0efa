"""Named lists of classes: ImageNet-A's 200, Imagenette's 10, and others.

The lists lie in data/lists, each with its reference in its first lines. Several lists are known as "ImageNet-100", so
that none has that name here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import WNID
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.places import Place, PlaceLike, place

_LISTS = Path(__file__).parent.parent / "data" / "lists"
_WNID_FIRST = re.compile(rf"({WNID})(?:[\s,]|$)")
_SHARED_NAMES = ("imagenet-100", "in-100", "imagenet100", "in100")


def list_names() -> tuple[str, ...]:
    """Return the names of the lists in the package."""
    return tuple(sorted(path.stem for path in _LISTS.glob("*.txt")))


def read_list(name: PlaceLike) -> tuple[str, ...]:
    """Return the sorted wnids of a list, given by name or as a file.

    A file has one class a line: a wnid, optionally followed by other text (as in Kaggle's LOC_synset_mapping.txt), or
    any name that `classes.resolve` accepts. Lines that start with # are comments.

    >>> len(read_list("imagenet-a")), len(read_list("objectnet"))
    (200, 125)
    """
    shipped = _LISTS / f"{name}.txt"
    if str(name) in list_names():
        return _read(shipped)
    if (file := place(name)).exists() or os.path.lexists(str(name)):
        return _read(require_file(file, "the class list"))
    if str(name).lower().replace("_", "-") in _SHARED_NAMES:
        several = [each for each in list_names() if each.startswith("imagenet-100-")]
        raise InputError(f"several lists are called {str(name)!r}; give one of {', '.join(several)}")
    raise InputError(
        f"{quoted(name)} is neither a class list nor a file; the lists are {', '.join(list_names())}, "
        "and a file has one class a line"
    )


def _read(path: Place) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; give one with a class a line") from None
    found: set[str] = set()
    for number, line in enumerate(lines, 1):
        text = line.split("\t")[0].strip()
        if text and not text.startswith("#"):
            wnid = _WNID_FIRST.match(text)
            try:
                found.update([wnid[1]] if wnid and classes.find(wnid[1]) else classes.resolve(text))
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
    if not found:
        raise InputError(f"{path} has no class; give a file with a class a line")
    return tuple(sorted(found))
