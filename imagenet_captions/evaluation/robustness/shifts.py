"""The natural distribution shifts of ImageNet, as columns of a results table."""

from __future__ import annotations

from dataclasses import dataclass

IMAGENET = "imagenet"
IMAGENET_IMAGES = 50_000


@dataclass(frozen=True)
class Shift:
    """A test set under shift: its column, and the column that its accuracy is compared with.

    R, A and ObjectNet hold a part of the 1000 classes. Their accuracy is counted among those classes only, so it is
    best compared with the ImageNet accuracy on the same classes, column `same_classes`; V2 and Sketch have all 1000.
    `images` are the test set's, `same_class_images` those of ImageNet's validation set in the same classes.
    """

    column: str
    label: str
    images: int
    same_classes: str | None = None
    same_class_images: int = 0
    averaged: bool = True


SHIFTS = (
    Shift("imagenet-v2", "ImageNetV2", 10_000),
    Shift("imagenet-r", "ImageNet-R", 30_000, "imagenet_on_r_classes", 10_000),
    Shift("imagenet-sketch", "ImageNet-Sketch", 50_889),
    # The 113 folders that stand for 125 of ImageNet's classes; the testbed counts its accuracies over 18,514 of them
    Shift("objectnet", "ObjectNet", 18_574, "imagenet_on_objectnet_classes", 6_250),
    # Collected against a ResNet-50, so not one of the four that the paper averages over
    Shift("imagenet-a", "ImageNet-A", 7_500, "imagenet_on_a_classes", 10_000, averaged=False),
)


def accuracy_columns() -> tuple[str, ...]:
    """Return the columns that hold accuracies, in the order of the shipped tables.

    >>> accuracy_columns()[:4]
    ('imagenet', 'imagenet-v2', 'imagenet-r', 'imagenet_on_r_classes')
    """
    names = [IMAGENET]
    for shift in SHIFTS:
        names += [shift.column] if shift.same_classes is None else [shift.column, shift.same_classes]
    return tuple(names)


def images_of(column: str) -> int:
    """Return the number of images of the published test set of an accuracy column.

    >>> images_of("imagenet-v2"), images_of("imagenet_on_r_classes")
    (10000, 10000)
    """
    for shift in SHIFTS:
        if column == shift.column:
            return shift.images
        if column == shift.same_classes:
            return shift.same_class_images
    return IMAGENET_IMAGES
