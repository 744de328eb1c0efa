"""How a result was measured, as hashes in metrics.json: results of two protocols are not compared in silence."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imagenet_captions.imagenet.image_ids import IMAGE_ENDING, WNID
from imagenet_captions.images.examples import Class

# Counted up when the same model, prompts and images give another accuracy than before.
VERSION = 1

_VAL_NAME = re.compile(rf"(ILSVRC2012_val_[0-9]{{8}})_{WNID}")
_ENDING = re.compile(f"{IMAGE_ENDING}$")


def sha256_of(lines: Iterable[str]) -> str:
    """Return the SHA-256 of lines of text, in hex."""
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def image_stem(image_id: str) -> str:
    """Return an image's file name without folders and ending, the same in every layout of ImageNet's validation set.

    >>> image_stem("val/n01440764/ILSVRC2012_val_00000293.JPEG"), image_stem("ILSVRC2012_val_00000293_n01440764.JPEG")
    ('ILSVRC2012_val_00000293', 'ILSVRC2012_val_00000293')
    """
    stem = _ENDING.sub("", image_id.replace("\\", "/").rpartition("/")[2])
    found = _VAL_NAME.fullmatch(stem)
    return found[1] if found else stem


def image_keys(ids: Iterable[str], labels: Iterable[str]) -> list[str]:
    """Return a key for each image: its class and its name, since some test sets repeat names in every class."""
    return [f"{label}/{image_stem(image_id)}" for image_id, label in zip(ids, labels, strict=True)]


def classifier_protocol(kind: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the protocol of all test sets: the version, the classifier, and what it is made from."""
    made = {name: about[name] for name in ("sentences", "sentences_sha256", "k") if name in about}
    return {"version": VERSION, "classifier": kind, **made}


def set_protocol(classes: Sequence[Class], ids: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Return the protocol of one test set: the classes under the names that were used, and the measured images."""
    return {
        "classes": len(classes),
        "class_names_sha256": sha256_of(f"{each.key}\t{each.name}" for each in classes),
        "images": len(ids),
        "images_sha256": sha256_of(sorted(image_keys(ids, labels))),
    }
