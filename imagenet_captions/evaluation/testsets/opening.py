"""Open test sets: detects the layout, and maps folders or labels to ImageNet's classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.accuracy import Labels
from imagenet_captions.evaluation.testsets.class_keys import answers_of, read_keys
from imagenet_captions.evaluation.testsets.known import KNOWN, KnownSet
from imagenet_captions.evaluation.testsets.pictures import folder_of, pictures_in_folder, pictures_in_tar
from imagenet_captions.evaluation.testsets.test_set import TestSet, one_answer_a_class
from imagenet_captions.evaluation.testsets.val_labels import flat_labels
from imagenet_captions.imagenet import classes
from imagenet_captions.images.examples import Class, Examples, open_examples, select
from imagenet_captions.images.files import Kind, layout_of
from imagenet_captions.storage.files import require_there
from imagenet_captions.storage.places import expand_pattern

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
