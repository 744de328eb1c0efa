"""Labels of ImageNet's validation images that lie flat in one folder or tar, without folders for classes.

The labels are in the file names of imagenet-1k's Parquet, unpacked (ILSVRC2012_val_00000293_n01440764.JPEG), or in
one of these files:

    ILSVRC2012_validation_ground_truth.txt   the devkit's: line i is the ILSVRC2012_ID of image i
    ILSVRC2012_devkit_t12.tar.gz             the devkit itself, packed
    LOC_val_solution.csv                     Kaggle's: ILSVRC2012_val_00048981,n03995372 85 1 499 272
    val.txt                                  Caffe's: ILSVRC2012_val_00000001.JPEG 65
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import WNID
from imagenet_captions.storage.files import require_file

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
# Where labels are looked for, below the images' folder and those above it; Kaggle's lie four folders above.
_PLACES = (
    GROUND_TRUTH,
    f"data/{GROUND_TRUTH}",
    f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}",
    "ILSVRC2012_devkit_t12.tar.gz",
    "LOC_val_solution.csv",
    "val.txt",
)
_FOLDERS_ABOVE = 4
_VAL_NAME = re.compile(rf"(ILSVRC2012_val_([0-9]{{8}}))(?:_({WNID}))?(?:\.\w+)?")


@cache
def devkit_order() -> tuple[str, ...]:
    """Return the wnids in the order of the devkit's ILSVRC2012_ID; it starts at 1, and the wnids are not sorted.

    >>> devkit_order()[490 - 1]
    'n01751748'
    """
    return tuple(classes.DEVKIT_ORDER.read_text(encoding="utf-8").split())


def flat_labels(names: Sequence[str], source: Path, labels: Path | None) -> tuple[str, ...]:
    """Return the wnid of each validation image, from the file or devkit `labels`, or else from one nearby."""
    found = [_VAL_NAME.fullmatch(name.rpartition("/")[2]) for name in names]
    odd = next((name for name, match in zip(names, found, strict=True) if match is None), None)
    if odd is not None:
        raise InputError(
            f"{source}: {odd[-80:]!r} lies in no folder of a class and is not named as a validation image "
            "(ILSVRC2012_val_00000001.JPEG); give folders by wnid, or images as ImageNet's tar has them"
        )
    matched = [match for match in found if match is not None]
    if labels is None and all(match[3] for match in matched):
        return _checked([match[3] for match in matched], source)
    file = labels or _nearby(source)
    by_name = read_labels(file)
    missing = [match[1] for match in matched if match[1] not in by_name]
    if missing:
        raise InputError(f"{file} has no label for {len(missing)} images of {source}, such as {missing[0]}")
    return tuple(by_name[match[1]] for match in matched)


def read_labels(path: Path) -> Mapping[str, str]:
    """Return the wnid of each validation image by its name without extension, from one of the files above."""
    if path.is_dir():
        inside = [path / place for place in _PLACES if (path / place).is_file()]
        if not inside:
            raise InputError(
                f"{path} has no labels of the validation images; give the devkit, with data/{GROUND_TRUTH}"
            )
        path = inside[0]
    require_file(path, "the file of labels")
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _from_ground_truth(_in_devkit(path), path)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; give the labels of the validation images") from None
    lines = [line.strip() for line in lines if line.strip()]
    if lines and all(line.isdigit() for line in lines):
        return _from_ground_truth(lines, path)
    return _from_named_lines(lines, path)


def _nearby(source: Path) -> Path:
    around = source.resolve()
    folders = ([around] if around.is_dir() else []) + list(around.parents)[: _FOLDERS_ABOVE + (not around.is_dir())]
    for folder in folders:
        for place in _PLACES:
            if (folder / place).is_file():
                return folder / place
    raise InputError(
        f"{source} has its images flat, and no labels lie beside it; put ILSVRC2012_devkit_t12.tar.gz or "
        "LOC_val_solution.csv there, or name one with `labels`"
    )


def _in_devkit(path: Path) -> list[str]:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isreg() and member.name.rpartition("/")[2] == GROUND_TRUTH:
                    opened = tar.extractfile(member)
                    return opened.read().decode("ascii", "replace").split() if opened else []
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole devkit: {error}; fetch it again") from None
    raise InputError(f"{path} has no {GROUND_TRUTH} in it; give ILSVRC2012_devkit_t12.tar.gz")


def _from_ground_truth(lines: Sequence[str], path: Path) -> dict[str, str]:
    order = devkit_order()
    labels = {}
    for number, line in enumerate(lines, 1):
        if not (line.isascii() and line.isdigit() and len(line) < 9 and 1 <= int(line) <= len(order)):
            raise InputError(
                f"{path}, line {number}: {quoted(line)} is not an ILSVRC2012_ID; they go from 1 to {len(order)}"
            )
        labels[f"ILSVRC2012_val_{number:08d}"] = order[int(line) - 1]
    return labels


def _from_named_lines(lines: Sequence[str], path: Path) -> dict[str, str]:
    """Read the lines of Kaggle and Caffe: a name, then a wnid or an index among the sorted wnids."""
    labels = {}
    for number, line in enumerate(lines, 1):
        name, label, *_ = [*re.split(r"[,\s]+", line), ""]
        match = _VAL_NAME.fullmatch(name.rpartition("/")[2])
        if match is None:
            if number == 1:  # a header: ImageId,PredictionString
                continue
            raise InputError(f"{path}, line {number}: {quoted(line)} does not name a validation image and its class")
        if label.isascii() and label.isdigit() and len(label) < 9:
            labels[match[1]] = classes.by_index(int(label)).wnid
        else:
            labels[match[1]] = label
    if not labels:
        raise InputError(f"{path} has no labels; give the labels of the validation images")
    _checked(list(labels.values()), path)
    return labels


def _checked(wnids: Sequence[str], path: Path) -> tuple[str, ...]:
    for wnid in wnids:
        if not classes.is_class(wnid):
            raise InputError(f"{path} has the label {quoted(wnid)}, which is not the wnid of one of the 1000 classes")
    return tuple(wnids)
