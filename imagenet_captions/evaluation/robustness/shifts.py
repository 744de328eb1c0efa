"""The natural distribution shifts of ImageNet, as columns of a results table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

    def on_own_classes(self, name: str) -> str:
        """Return the column with the accuracy on the test set `name` among the shift's own classes.

        >>> SHIFTS[1].on_own_classes("yfcc")
        'yfcc_on_r_classes'
        """
        return name + (self.same_classes or IMAGENET).removeprefix(IMAGENET)


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


def own_columns(columns: Sequence[str], named: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the columns with accuracies on test sets of the user's own.

    These are the columns with a number of images beside them, as `evaluate` writes both, and those that are named, on
    all classes or on a shift's own.

    >>> own_columns(["model", "imagenet", "imagenet_n", "pets", "pets_n", "yfcc"], ["yfcc"])
    ('pets', 'yfcc')
    """
    known = accuracy_columns()
    wanted = {shift.on_own_classes(name) for name in named for shift in SHIFTS}
    return tuple(name for name in columns if name not in known and (name in wanted or f"{name}_n" in columns))


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
