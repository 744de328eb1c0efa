"""What training and evaluation read: images as they are stored, with labels and texts, one by one in any order."""

from __future__ import annotations

from imagenet_captions.images.examples.example import (
    Class,
    Examples,
    Texts,
    classes_without_images,
    only_ids,
    require_classes,
    select,
)
from imagenet_captions.images.examples.opening import open_examples

__all__ = [
    "Class",
    "Examples",
    "Texts",
    "classes_without_images",
    "only_ids",
    "open_examples",
    "require_classes",
    "select",
]
