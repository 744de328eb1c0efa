"""Images that a list leaves out of a test set, such as those that duplicate training images."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.protocol import image_stem
from imagenet_captions.evaluation.testsets.test_set import TestSet
from imagenet_captions.storage.files import require_file

# Columns that hold an image's name, in the lists that people publish; "id" is that of klarajanouskova/ImageNet.
_COLUMNS = ("id", "image_id", "image", "filename", "file", "name", "imageid")


def leave_out(test_sets: Sequence[TestSet], path: Path) -> list[TestSet]:
    """Return the test sets with the images of a list left out.

    The list is a text file with an id or file name a line, or a CSV with a column of them (the first, or one called
    id, image_id, image, filename, file or name). A name with folders means the image whose path ends so.

    Raises InputError for a list with no image of the test sets, or with a name that several images of one have.
    """
    names = _read_names(path)
    found = [_rows(names, test_set, path) for test_set in test_sets]
    if not any(map(len, found)):
        raise InputError(
            f"none of the {len(names):,} names in {path}, such as {quoted(names[0])}, is an image of the test sets; "
            "give ids as the test set has them"
        )
    return [
        replace(test_set, listed=rows, left_out={**test_set.left_out, f"listed in {path.name}": len(rows)})
        if len(rows)
        else test_set
        for test_set, rows in zip(test_sets, found, strict=True)
    ]


def _read_names(path: Path) -> list[str]:
    try:
        lines = require_file(path, "the list of images").read_text(encoding="utf-8-sig").splitlines()
        rows = [row for row in csv.reader(lines, delimiter="\t" if lines and "\t" in lines[0] else ",") if row]
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path} is not a text file or CSV in UTF-8; give a list with an image's id a line") from None
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    named = [name for name in _COLUMNS if name in header]
    column = header.index(named[0]) if named else 0
    names = [row[column].strip() for row in rows[bool(named) :] if len(row) > column]
    if not any(names):
        raise InputError(f"{path} holds no image; give an id or file name a line")
    return list(dict.fromkeys(name for name in names if name))


def _rows(names: Sequence[str], test_set: TestSet, path: Path) -> Labels:
    """Return the rows of the images that the names mean; most names have no image in most sets."""
    wanted: dict[str, list[str]] = {}
    for name in names:
        wanted.setdefault(image_stem(name), []).append(_place(name))
    found: dict[str, list[int]] = {}
    for row in range(len(test_set.labels)):
        image_id = test_set.images.image_id(row)
        for place in wanted.get(image_stem(image_id), ()):
            if f"/{_place(image_id)}".endswith(f"/{place}"):
                found.setdefault(place, []).append(row)
    for place, rows in found.items():
        if len(rows) > 1:
            raise InputError(
                f"{quoted(place)} in {path} is the name of {len(rows)} images of {test_set.name}; name its folder too"
            )
    every = np.array(sorted({row for rows in found.values() for row in rows}), np.int64)
    if len(every) == len(test_set.labels):
        raise InputError(f"{path} lists every image of {test_set.name}, so nothing is left to measure; give fewer")
    return every


def _place(name: str) -> str:
    """Return an image's path with the name that `image_stem` gives."""
    folder, slash, _ = name.replace("\\", "/").removeprefix("./").rpartition("/")
    return f"{folder}{slash}{image_stem(name)}"
