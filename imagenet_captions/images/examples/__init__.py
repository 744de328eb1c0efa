"""Labeled images for training and evaluation, in any layout: encoded images with labels and texts, by row."""

from __future__ import annotations

from imagenet_captions.images.examples.example import (
    Class,
    Examples,
    Texts,
    classes_without_images,
    only_ids,
    require_classes,
    select,
    spread_rows,
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
    "spread_rows",
]
