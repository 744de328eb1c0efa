"""Test sets in the layouts in which people keep them: images, their right answers, and the classes to choose among."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import shutil
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.known_sets import KNOWN, KnownSet, answers_of, flat_labels, read_keys
from imagenet_captions.evaluation.results import image_stem
from imagenet_captions.imagenet import classes
from imagenet_captions.images.examples import Class, Examples, FileImages, open_examples, select
from imagenet_captions.images.files import Kind, image_files, is_image_name, layout_of
from imagenet_captions.images.tars import TarReader
from imagenet_captions.storage.files import require_file, require_there
from imagenet_captions.storage.places import expand_pattern


@dataclass(frozen=True)
class Gaps:
    """The gaps of an incomplete test set: missing images, classes without images, and classes with too few."""

    missing: int
    empty: tuple[str, ...]
    short: Mapping[str, int]


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
    notes: tuple[str, ...] = ()
    listed: Labels = field(default_factory=lambda: np.empty(0, np.int64))

    def gaps(self) -> Gaps:
        """Return the gaps against the published set; none if no size was published."""
        counts = np.bincount(self.labels, minlength=len(self.answers)).tolist()
        by_answer = dict(zip(self.answers, counts, strict=True))
        least = self.per_class or 0
        return Gaps(
            missing=max(0, (self.expected or 0) - len(self.labels)),
            empty=tuple(key for key, count in by_answer.items() if not count) if self.expected else (),
            short={key: count for key, count in by_answer.items() if 0 < count < least},
        )

    def completeness(self) -> dict[str, Any]:
        """Return the gaps for metrics.json."""
        gaps = self.gaps()
        return {
            "expected": self.expected,
            "missing": gaps.missing,
            "empty_classes": list(gaps.empty),
            "short_classes": dict(gaps.short),
            "left_out": dict(self.left_out),
        }


def one_answer_a_class(classes: Sequence[Class]) -> tuple[tuple[str, ...], Labels]:
    """Return the answers and groups of a test set in which every class is its own answer."""
    return tuple(each.key for each in classes), np.arange(len(classes), dtype=np.int64)


_TARS = (".tar", ".tar.gz", ".tgz")
_VARIANTS = {"threshold": "imagenet-v2-threshold", "top-images": "imagenet-v2-top-images"}
_OUTSIDE = "no class of ImageNet's"
_UNLABELLED = "no label"


def open_test_set(name: str, path: Path, scratch: Path, labels: Path | None = None) -> TestSet:
    """Open a test set by its name: one of `KNOWN`, or any other, which then has classes of its own.

    `scratch` is a folder that lasts as long as the test set is used: a tar in gzip is unpacked there. `labels` says
    where the labels of flat validation images are, if not beside them.

    Raises InputError for a place that is not there or has no images, and for classes that are not the set's.
    """
    if expand_pattern(path) is None:
        require_there(path, f"`test_sets` {name}:")
    if path.name.lower().endswith(".zip"):
        raise InputError(f"`test_sets` {name}={path} is a zip; unpack it and give the folder")
    known = KNOWN.get(name)
    if known is None:
        return _own_classes(name, open_examples(path))
    pictures = _pictures(path, scratch)
    if pictures is None:
        return _from_examples(known, open_examples(path), path)
    return _from_pictures(known, pictures, path, labels)


def _pictures(path: Path, scratch: Path) -> Examples | None:
    """Return images in folders or a plain tar; None for Parquet, shards or a table."""
    if path.is_dir():
        found = pictures_in_folder(path)
        if not len(found) and layout_of(path).kind is Kind.OTHER:
            raise InputError(f"{path} has no images in it; give a folder of images, a tar, or Parquet")
        return found if len(found) else None
    if not path.name.lower().endswith(_TARS) or not path.is_file():
        return None
    return pictures_in_tar(path, scratch)


def _from_pictures(known: KnownSet, pictures: Examples, path: Path, labels: Path | None) -> TestSet:
    names: list[str] = pictures.ids.to_pylist()
    folders = [folder_of(name) or path.name for name in names]
    keys = sorted(set(folders))
    flat = known.name == "imagenet" and not any(classes.is_class(key) or key.isdigit() for key in keys)
    if flat:
        return _known_set(known, pictures, flat_labels(names, path, labels), path)
    answers = read_keys(keys, known, str(path))
    return _known_set(known, pictures, [answers[folder] for folder in folders], path)


def _from_examples(known: KnownSet, examples: Examples, path: Path) -> TestSet:
    if examples.classes is None or not len(examples):
        raise InputError(f"{path} has no labels, and a test set needs them; give one with a label for each image")
    by_key = read_keys([each.key for each in examples.classes], known, str(path))
    by_label = [by_key[each.key] for each in examples.classes]
    answers = [by_label[label] if label >= 0 else "" for label in examples.labels.tolist()]
    return _known_set(known, examples, answers, path)


def _known_set(known: KnownSet, images: Examples, answers: Sequence[str | None], path: Path) -> TestSet:
    """Build a test set from each image's answer: None for other classes than ImageNet's, "" for no label."""
    groups_of = answers_of(known)
    order = {answer: index for index, answer in enumerate(groups_of)}
    pairs = sorted((wnid, order[answer]) for answer, wnids in groups_of.items() for wnid in wnids)
    kept = np.array([index for index, answer in enumerate(answers) if answer], np.int64)
    if not len(kept):
        raise InputError(f"{path} has no image with a label of {known.label}; check the path")
    return TestSet(
        name=known.name,
        images=select(images, kept),
        labels=np.array([order[answer] for answer in answers if answer], np.int64),
        classes=tuple(Class(wnid, classes.by_wnid(wnid).name) for wnid, _ in pairs),
        answers=tuple(order),
        groups=np.array([group for _, group in pairs], np.int64),
        expected=known.images,
        per_class=known.per_class,
        border=known.border,
        left_out=_left_out(Counter({_OUTSIDE: answers.count(None), _UNLABELLED: list(answers).count("")})),
        notes=_notes(known, path),
    )


def _own_classes(name: str, examples: Examples) -> TestSet:
    if examples.classes is None or not len(examples):
        raise InputError(
            f"`test_sets` {name}={examples.source} has no labels, and a test set needs them; give one with a label "
            f"for each image, or one of {', '.join(KNOWN)}"
        )
    kept: Labels = np.flatnonzero(examples.labels >= 0)
    if not len(kept):
        raise InputError(f"`test_sets` {name}={examples.source} has no image with a label; check the path")
    own = tuple(Class(each.key, each.name) for each in examples.classes)
    answers, groups = one_answer_a_class(own)
    return TestSet(
        name=name,
        images=select(examples, kept),
        labels=examples.labels[kept],
        classes=own,
        answers=answers,
        groups=groups,
        left_out=_left_out(Counter({_UNLABELLED: len(examples) - len(kept)})),
    )


def _left_out(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}


def _notes(known: KnownSet, path: Path) -> tuple[str, ...]:
    """Return a warning if the place looks like another variant of ImageNetV2 than the one that is compared."""
    where = path.resolve().as_posix().lower().replace("_", "-")
    for word, variant in _VARIANTS.items():
        if known.name == "imagenet-v2" and word in where.rsplit("/", 1)[-1]:
            return (f"{path} looks like {KNOWN[variant].label}; name it {variant}, robustness compares the other",)
    return ()


_LABELS = (".cls",)
_GZIP = b"\x1f\x8b"


def pictures_in_folder(path: Path) -> Examples:
    """Return the images at any depth below a folder, in the order of their names; their ids are the names below it."""
    found = sorted((name, file) for file, name, _ in image_files(path))
    files = pa.array([os.fsencode(file) for _, file in found], pa.binary())
    return _unlabelled(path, [name for name, _ in found], FileImages(files))


def pictures_in_tar(path: Path, scratch: Path) -> Examples | None:
    """Return the images in a tar, which is read in place; one in gzip is taken out of it into `scratch` first.

    Their ids are the names within the tar. Returns None for a tar that holds labels as well: it is a WebDataset shard,
    and its folders are not classes. Raises InputError for a tar without images.
    """
    with path.open("rb") as opened:
        compressed = opened.read(2) == _GZIP
    plain = _without_gzip(path, scratch) if compressed else path
    with TarReader(plain) as tar:
        members = [member for _, member in tar.members()]
    found = sorted(member for member in members if is_image_name(member.name))
    if not found:
        raise InputError(f"{path} has no images in it; give the tar of a test set")
    if any(member.name.endswith(_LABELS) for member in members):
        return None
    places = np.array([member[1:] for member in found], np.int64).reshape(-1, 2)
    files = np.zeros(len(found), np.int32)
    images = FileImages(pa.array([os.fsencode(plain)]), files, places)
    return _unlabelled(path, [member.name for member in found], images)


def _unlabelled(path: Path, names: Sequence[str], images: FileImages) -> Examples:
    return Examples(path, None, np.full(len(names), -1, np.int64), pa.array(names, pa.string()), images)


def folder_of(name: str) -> str:
    """Return the folder that an image lies in directly, or "" if it lies in none.

    >>> folder_of("./val/n01440764/1.JPEG"), folder_of("./2.JPEG")
    ('n01440764', '')
    """
    return name.rpartition("/")[0].rpartition("/")[2].removeprefix(".")


def _without_gzip(path: Path, scratch: Path) -> Path:
    """Return the tar inside; it is taken out once, though several models are measured with one scratch folder."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    plain, partial = scratch / f"{name}.tar", scratch / f"{name}.partial"
    if plain.exists():
        return plain
    try:
        with gzip.open(path) as compressed, partial.open("wb") as written:
            shutil.copyfileobj(compressed, written, 1 << 20)
        partial.rename(plain)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not a whole gzip file: {error}; fetch it again") from None
    return plain


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
