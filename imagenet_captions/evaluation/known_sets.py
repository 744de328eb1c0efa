"""The published test sets over ImageNet's classes, and the classes that folders, labels and label files name."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from imagenet_captions.errors import InputError, first_of, quoted
from imagenet_captions.evaluation.robustness.tables import IMAGES
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import WNID, is_wnid
from imagenet_captions.storage.files import read_text

OBJECTNET = "objectnet"
_OBJECTNET_TABLE = "lists/objectnet.txt"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"  # the devkit's: line i is the ILSVRC2012_ID of image i
# Where labels are looked for, below the images' folder and those above it; Kaggle's lie four folders above.
_LABEL_FILES = (
    *(GROUND_TRUTH, f"data/{GROUND_TRUTH}", f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}"),
    "ILSVRC2012_devkit_t12.tar.gz",
    "LOC_val_solution.csv",  # Kaggle's: ILSVRC2012_val_00048981,n03995372 85 1 499 272
    "val.txt",  # Caffe's: ILSVRC2012_val_00000001.JPEG 65
)
_FOLDERS_ABOVE = 4
_VAL_NAME = re.compile(rf"(ILSVRC2012_val_[0-9]{{8}})(?:_({WNID}))?(?:\.\w+)?")


@dataclass(frozen=True)
class KnownSet:
    """A published test set, over all 1000 classes or those of `class_list`.

    `per_class` are the images of every class where all have the same number; `border` is cut off each side of an image.
    """

    name: str
    label: str
    images: int
    class_list: str | None = None
    per_class: int | None = None
    border: int = 0

    @property
    def wnids(self) -> tuple[str, ...]:
        """Return the sorted wnids of its classes."""
        return classes.wnids() if self.class_list is None else classes.read_list(self.class_list)

    @property
    def group_of(self) -> dict[str, int]:
        """Return the place of each class's answer among `answers_of` the set, by wnid, sorted."""
        answers = enumerate(answers_of(self).values())
        return dict(sorted((wnid, place) for place, wnids in answers for wnid in wnids))


KNOWN: Mapping[str, KnownSet] = {
    known.name: known
    for known in (
        KnownSet("imagenet", "ImageNet's validation set", 50_000, per_class=50),
        KnownSet("imagenet-v2", "ImageNetV2 (matched frequency)", 10_000, per_class=10),
        KnownSet("imagenet-v2-threshold", "ImageNetV2 (threshold 0.7)", 10_000, per_class=10),
        KnownSet("imagenet-v2-top-images", "ImageNetV2 (top images)", 10_000, per_class=10),
        KnownSet("imagenet-r", "ImageNet-R", IMAGES["imagenet-r"], "imagenet-r"),
        KnownSet("imagenet-sketch", "ImageNet-Sketch", IMAGES["imagenet-sketch"]),
        # The authors framed every image in red, two pixels wide, so that it can be told from a training image.
        KnownSet(OBJECTNET, "ObjectNet", IMAGES[OBJECTNET], "objectnet", border=2),
        KnownSet("imagenet-a", "ImageNet-A", IMAGES["imagenet-a"], "imagenet-a"),
    )
}


def objectnet_folders() -> dict[str, tuple[str, ...]]:
    """Return ObjectNet's 113 folders that stand for classes of ImageNet, each with the wnids of its classes.

    >>> len(objectnet_folders()), objectnet_folders()["bicycle"]
    (113, ('n02835271', 'n03792782'))
    """
    found: dict[str, tuple[str, ...]] = {}
    for wnid, folder, _ in classes.read_table(_OBJECTNET_TABLE):
        found[folder] = (*found.get(folder, ()), wnid)
    return dict(sorted(found.items()))


def answers_of(known: KnownSet) -> Mapping[str, tuple[str, ...]]:
    """Return the answers of a model, each with its wnids: one, or for ObjectNet a group."""
    return objectnet_folders() if known.name == OBJECTNET else {wnid: (wnid,) for wnid in known.wnids}


def read_keys(keys: Sequence[str], known: KnownSet, where: str) -> dict[str, str | None]:
    """Return the answer for each folder or label; None for those of ObjectNet outside ImageNet's classes.

    `keys` are in the order of the labels, if there is one. Raises InputError if they are not the set's classes.
    """
    found: dict[str, str | None]
    if known.name == OBJECTNET:
        meant = {classes.folded(label): folder for _, folder, label in classes.read_table(_OBJECTNET_TABLE)}
        meant |= {classes.folded(folder): folder for folder in objectnet_folders()}
        found = {key: meant.get(classes.folded(key)) for key in keys}
        wrong = [] if any(found.values()) else list(keys)
    else:
        if all(map(is_wnid, keys)):
            found = dict(zip(keys, keys, strict=True))
        elif all(key.isascii() and key.isdigit() for key in keys):
            found = _read_numbers(keys, known, where)
        else:
            found = _read_names(keys, known.wnids)
        own = set(known.wnids)
        wrong = [key for key, wnid in found.items() if wnid not in own]
    if wrong:
        shown = first_of([quoted(key, 40) for key in wrong])
        raise InputError(
            f"{where} has {shown} beside the classes of {known.label}; give its own folders, or labels by wnid"
        )
    return found


def _read_numbers(keys: Sequence[str], known: KnownSet, where: str) -> dict[str, str | None]:
    """Read numbers as indices of the 1000 classes (ImageNetV2's folders), or as ranks among the set's own classes."""
    everything, own = dict(enumerate(classes.wnids())), dict(enumerate(known.wnids))
    numbers = {key: int(key[:9]) for key in keys}
    as_indices = {key: everything.get(number) for key, number in numbers.items()}
    as_ranks = {key: own.get(number) for key, number in numbers.items()}
    if None in as_ranks.values() or len(own) == len(everything):
        return as_indices
    if set(as_indices.values()) <= set(known.wnids):
        raise InputError(
            f"{where} has labels by number, and they may be indices of the 1000 classes or of the {len(own)} of "
            f"{known.label}; give the set with wnids"
        )
    return as_ranks


def _read_names(keys: Sequence[str], own: Sequence[str]) -> dict[str, str | None]:
    """Read names such as "tench, Tinca tinca"; the place among all classes decides for an ambiguous one."""
    wnids_of: dict[str, set[str]] = {}
    for wnid in classes.wnids():
        for name in (classes.by_wnid(wnid).name, *classes.by_wnid(wnid).lemmas):
            wnids_of.setdefault(classes.folded(name), set()).add(wnid)
    by_name: list[str | None] = []
    for key in keys:
        meant = [wnids_of[part] for part in map(classes.folded, key.split(",")) if part in wnids_of]
        wnids = set(own).intersection(*meant) if meant else set()
        by_name.append(wnids.pop() if len(wnids) == 1 else None)
    in_order = any(by_name) and len(keys) == len(own) == len(set(keys))
    if in_order and all(name in (None, place) for name, place in zip(by_name, own, strict=True)):
        return dict(zip(keys, own, strict=True))
    if all(by_name) and len(set(by_name)) < len(keys):
        return dict.fromkeys(keys)
    return dict(zip(keys, by_name, strict=True))


@cache
def devkit_order() -> tuple[str, ...]:
    """Return the wnids in the order of the devkit's ILSVRC2012_ID; it starts at 1, and the wnids are not sorted.

    >>> devkit_order()[490 - 1]
    'n01751748'
    """
    return tuple(classes.DEVKIT_ORDER.read_text(encoding="utf-8").split())


def flat_labels(names: Sequence[str], source: Path, labels: Path | None) -> list[str]:
    """Return the wnid of each validation image, from the file or devkit `labels`, or else from one nearby."""
    matched = []
    for name in names:
        match = _VAL_NAME.fullmatch(name.rpartition("/")[2])
        if match is None:
            raise InputError(
                f"{source}: {name[-80:]!r} lies in no folder of a class and is not named as a validation image "
                "(ILSVRC2012_val_00000001.JPEG); give folders by wnid, or images as ImageNet's tar has them"
            )
        matched.append(match)
    if labels is None and all(match[2] for match in matched):
        wnids = [match[2] for match in matched]
        read_keys(wnids, KNOWN["imagenet"], str(source))
        return wnids
    if labels is None:
        around = source.resolve()
        folders = [*([around] if around.is_dir() else []), *around.parents][: _FOLDERS_ABOVE + 1]
        labels = next((file for folder in folders for file in _label_files(folder)), None)
    if labels is None:
        raise InputError(
            f"{source} has its images flat, and no labels lie beside it; put ILSVRC2012_devkit_t12.tar.gz or "
            "LOC_val_solution.csv there, or name one with `labels`"
        )
    by_name = read_labels(labels)
    missing = [match[1] for match in matched if match[1] not in by_name]
    if missing:
        raise InputError(f"{labels} has no label for {len(missing)} images of {source}, such as {missing[0]}")
    return [by_name[match[1]] for match in matched]


def _label_files(folder: Path) -> list[Path]:
    return [folder / place for place in _LABEL_FILES if (folder / place).is_file()]


def read_labels(path: Path) -> Mapping[str, str]:
    """Return the wnid of each validation image by its name without extension, from one of the files above."""
    if path.is_dir():
        path = next(iter(_label_files(path)), path / "data" / GROUND_TRUTH)
    packed = path.name.endswith((".tar.gz", ".tgz", ".tar")) and path.is_file()
    text = _in_devkit(path) if packed else read_text(path, "the file of labels")
    lines = list(filter(None, map(str.strip, text.splitlines())))
    by_number = all(map(str.isdecimal, lines))
    order, first = (devkit_order(), 1) if by_number else (classes.wnids(), 0)
    wnids = {str(number): wnid for number, wnid in enumerate(order, first)}
    labels = {}
    for number, line in enumerate(lines, 1):
        numbered = [f"ILSVRC2012_val_{number:08d}", line]
        name, label, *_ = numbered if by_number else [*re.split(r"[,\s]+", line), ""]
        label = re.sub("^0+(?=[0-9])", "", label)
        match, wnid = _VAL_NAME.fullmatch(name.rpartition("/")[2]), wnids.get(label, label)
        if match and classes.is_class(wnid):
            labels[match[1]] = wnid
        elif match or number > 1:  # the first may be a header: ImageId,PredictionString
            raise InputError(f"{path}, line {number}: {quoted(line)} does not name a validation image and its class")
    if not labels:
        raise InputError(f"{path} has no labels; give those of the validation images")
    return labels


def _in_devkit(path: Path) -> str:
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.rpartition("/")[2] == GROUND_TRUTH and (opened := tar.extractfile(member)):
                    return opened.read().decode(errors="replace")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole devkit: {error}; fetch it again") from None
    raise InputError(f"{path} has no {GROUND_TRUTH} in it; give ILSVRC2012_devkit_t12.tar.gz")
