"""Test sets in the layouts in which people keep them: images, their right answers, and the classes to choose among."""

from __future__ import annotations

import csv
import gzip
import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.known_sets import KNOWN, KnownSet, answers_of, flat_labels, read_keys
from imagenet_captions.evaluation.results import image_stem
from imagenet_captions.imagenet import classes
from imagenet_captions.images.examples import Class, Examples, open_examples, select
from imagenet_captions.images.files import Kind, image_files, is_image_name, kind_of
from imagenet_captions.images.reading import FileImages
from imagenet_captions.images.tars import TarReader
from imagenet_captions.storage.files import read_text

log = logging.getLogger(__name__)
_warn_once = cache(log.warning)  # `train` opens its test sets before and after

_TARS = (".tar", ".tar.gz", ".tgz")
_UNLABELED = "no label"
_REASONS = {None: "no class of ImageNet's", "": _UNLABELED}
_VARIANTS = {"threshold": "imagenet-v2-threshold", "top-images": "imagenet-v2-top-images"}
# Columns that hold an image's name, in the lists that people publish; "id" is that of klarajanouskova/ImageNet.
_NAME_COLUMNS = ("id", "image_id", "image", "filename", "file", "name", "imageid")


@dataclass(frozen=True)
class TestSet:
    """Images with labels, and the answers of a model.

    A model chooses among `classes`. `groups` says which answer each class stands for: mostly each for itself, but
    ObjectNet's 113 answers stand for 125 classes, and the best class of a group counts for it. `labels` are indices
    into `answers`, one an image. `expected` is the size of the published set, `left_out` counts the images that are
    no part of the measurement, by reason. `listed` are the rows that the user's list leaves out.
    """

    __test__ = False  # pytest takes every class named Test… for one of its own

    name: str
    images: Examples
    labels: Labels
    classes: tuple[Class, ...]
    answers: tuple[str, ...]
    groups: Labels
    expected: int | None = None
    per_class: int | None = None
    border: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    listed: Labels = field(default_factory=lambda: np.empty(0, np.int64))

    def completeness(self) -> dict[str, Any]:
        """Return what is missing of the published set, for metrics.json; nothing if no size was published."""
        counts = np.bincount(self.labels, minlength=len(self.answers)).tolist()
        by_answer = dict(zip(self.answers, counts, strict=True))
        least = self.per_class or 0
        return {
            "expected": self.expected,
            "missing": max(0, (self.expected or 0) - len(self.labels)),
            "empty_classes": [key for key, count in by_answer.items() if not count] if self.expected else [],
            "short_classes": {key: count for key, count in by_answer.items() if 0 < count < least},
            "left_out": dict(self.left_out),
        }


def open_test_set(name: str, path: Path, scratch: Path, labels: Path | None = None) -> TestSet:
    """Open a test set by its name: one of `KNOWN`, or any other, which then has classes of its own.

    `scratch` is a folder that lasts as long as the test set is used: a tar in gzip is unpacked there. `labels` says
    where the labels of flat validation images are, if not beside them.

    Raises InputError for a place that is not there or has no images, and for classes that are not the set's.
    """
    known = KNOWN.get(name)
    pictures = _pictures(path, scratch) if known else None
    if known and pictures:
        names: list[str] = pictures.ids.to_pylist()
        folders = [each.rpartition("/")[0].rpartition("/")[2].removeprefix(".") or path.name for each in names]
        keys = sorted(set(folders))
        if name == "imagenet" and not any(classes.is_class(key) or key.isdigit() for key in keys):
            return _known_set(known, pictures, flat_labels(names, path, labels), path)
        by_folder = read_keys(keys, known, str(path))
        return _known_set(known, pictures, [by_folder[folder] for folder in folders], path)
    examples = open_examples(path)
    kept: Labels = np.flatnonzero(examples.labels >= 0)
    if examples.classes is None or not len(kept):
        raise InputError(
            f"`test_sets` {name}={path} has no labels, and a test set needs them; give one with a label for each image"
            + ("" if known else f", or one of {', '.join(KNOWN)}")
        )
    keys = [each.key for each in examples.classes]
    if known:
        by_key = read_keys(keys, known, str(path))
        answers = [by_key[keys[label]] if label >= 0 else "" for label in examples.labels.tolist()]
        return _known_set(known, examples, answers, path)
    return TestSet(
        name=name,
        images=select(examples, kept),
        labels=examples.labels[kept],
        classes=examples.classes,
        answers=tuple(keys),
        groups=np.arange(len(keys), dtype=np.int64),
        left_out={_UNLABELED: len(examples) - len(kept)} if len(kept) < len(examples) else {},
    )


def _pictures(path: Path, scratch: Path) -> Examples | None:
    """Return images in folders or in a plain tar, with their names as ids; None for Parquet, shards or a table."""
    if path.is_dir():
        found = sorted((name, file) for file, name, _ in image_files(path))
        names = [name for name, _ in found]
        images = FileImages(pa.array([os.fsencode(file) for _, file in found], pa.binary()))
    elif path.name.lower().endswith(_TARS) and path.is_file():
        plain = _without_gzip(path, scratch)
        with TarReader(plain) as tar:
            members = sorted(member for _, member in tar.members())
        if any(member.name.endswith(".cls") for member in members):
            return None  # a WebDataset shard, whose folders are not classes
        members = [member for member in members if is_image_name(member.name)]
        names = [member.name for member in members]
        ranges = np.array([member[1:] for member in members], np.int64).reshape(-1, 2)
        images = FileImages(pa.array([os.fsencode(plain)]), np.zeros(len(names), np.int32), ranges)
    else:
        return None
    return Examples(path, None, np.full(len(names), -1, np.int64), pa.array(names, pa.string()), images)


def _without_gzip(path: Path, scratch: Path) -> Path:
    """Return the tar inside; it is unpacked once, though several models are measured with one scratch folder."""
    if kind_of(path) is not Kind.COMPRESSED:
        return path
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    plain, partial = scratch / f"{name}.tar", scratch / f"{name}.partial"
    try:
        if not plain.exists():
            with gzip.open(path) as compressed, partial.open("wb") as written:
                shutil.copyfileobj(compressed, written, 1 << 20)
            partial.rename(plain)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}; fetch it again") from None
    return plain


def _known_set(known: KnownSet, images: Examples, answers: Sequence[str | None], path: Path) -> TestSet:
    """Build a test set from each image's answer: None for other classes than ImageNet's, "" for no label."""
    order = {answer: index for index, answer in enumerate(answers_of(known))}
    group_of = known.group_of
    kept = np.array([index for index, answer in enumerate(answers) if answer], np.int64)
    if not len(kept):
        raise InputError(f"{path} has no image with a label of {known.label}; check the path")
    for word, variant in _VARIANTS.items():
        if known.name == "imagenet-v2" and word in path.resolve().name.lower().replace("_", "-"):
            label = KNOWN[variant].label
            _warn_once("%s looks like %s; name it %s, robustness compares the other", path, label, variant)
    return TestSet(
        name=known.name,
        images=select(images, kept),
        labels=np.array([order[answer] for answer in answers if answer], np.int64),
        classes=tuple(Class(wnid, classes.by_wnid(wnid).name) for wnid in group_of),
        answers=tuple(order),
        groups=np.array([*group_of.values()], np.int64),
        expected=known.images,
        per_class=known.per_class,
        border=known.border,
        left_out={reason: count for answer, reason in _REASONS.items() if (count := list(answers).count(answer))},
    )


def leave_out(test_sets: Sequence[TestSet], path: Path) -> list[TestSet]:
    """Return the test sets with the images of a list left out.

    The list is a text file with an id or file name a line, or a CSV with a column of them (the first, or one called
    id, image_id, image, filename, file or name). A name with folders means the image whose path ends so.

    Raises InputError for a list with no image of the test sets, or with a name that several images of one have.
    """
    names = _read_names(path)
    wanted = set(map(_with_stem, names))
    left = []
    for test_set in test_sets:
        found: dict[str, int] = {}
        for row in range(len(test_set.labels)):
            parts = _with_stem(test_set.images.image_id(row)).split("/")
            for place in wanted.intersection("/".join(parts[at:]) for at in range(len(parts))):
                if found.setdefault(place, row) != row:
                    name = test_set.name
                    raise InputError(f"{path}: {quoted(place)} means several images of {name}; name its folder too")
        if found:
            rows = np.unique([*found.values()]).astype(np.int64)
            if len(rows) == len(test_set.labels):
                raise InputError(f"{path} lists every image of {test_set.name}; give fewer")
            left_out = {**test_set.left_out, f"listed in {path.name}": len(rows)}
            test_set = replace(test_set, listed=rows, left_out=left_out)
        left.append(test_set)
    if not any(len(test_set.listed) for test_set in left):
        own = test_sets[0].images.image_id(0)
        raise InputError(
            f"none of the {len(names):,} names in {path} is an image of the test sets; give ids like {own}"
        )
    return left


def _read_names(path: Path) -> list[str]:
    lines = read_text(path, "the list of images").splitlines()
    try:
        rows = [row for row in csv.reader(lines, delimiter="\t" if "\t" in "".join(lines[:1]) else ",") if row]
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV ({error}); give a list with an image's id a line") from None
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    named = [name for name in _NAME_COLUMNS if name in header]
    column = header.index(named[0]) if named else 0
    names = [row[column].strip() for row in rows[bool(named) :] if len(row) > column]
    return list(dict.fromkeys(filter(None, names)))


def _with_stem(name: str) -> str:
    """Return an image's path with the name that `image_stem` gives."""
    folder, slash, _ = name.replace("\\", "/").removeprefix("./").rpartition("/")
    return f"{folder}{slash}{image_stem(name)}"
