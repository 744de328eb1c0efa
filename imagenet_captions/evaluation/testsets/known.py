"""ImageNet's validation set and the sets under shift: their classes, published sizes and peculiarities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from imagenet_captions.evaluation.robustness.shifts import images_of
from imagenet_captions.imagenet import classes

OBJECTNET = "objectnet"
_OBJECTNET_TABLE = Path(classes.__file__).parent.parent / "data" / "lists" / "objectnet.txt"


@dataclass(frozen=True)
class KnownSet:
    """A published test set over ImageNet's classes.

    `class_list` names its classes if they are not all 1000, `images` are the published set's, `per_class` those of
    every class where all have the same number. `border` is cut off each side of an image before anything else.
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


KNOWN: Mapping[str, KnownSet] = {
    known.name: known
    for known in (
        KnownSet("imagenet", "ImageNet's validation set", 50_000, per_class=50),
        KnownSet("imagenet-v2", "ImageNetV2 (matched frequency)", 10_000, per_class=10),
        KnownSet("imagenet-v2-threshold", "ImageNetV2 (threshold 0.7)", 10_000, per_class=10),
        KnownSet("imagenet-v2-top-images", "ImageNetV2 (top images)", 10_000, per_class=10),
        KnownSet("imagenet-r", "ImageNet-R", images_of("imagenet-r"), "imagenet-r"),
        KnownSet("imagenet-sketch", "ImageNet-Sketch", images_of("imagenet-sketch")),
        # The authors framed every image in red, two pixels wide, so that it can be told from a training image.
        KnownSet(OBJECTNET, "ObjectNet", images_of(OBJECTNET), "objectnet", border=2),
        KnownSet("imagenet-a", "ImageNet-A", images_of("imagenet-a"), "imagenet-a"),
    )
}


@cache
def objectnet_folders() -> Mapping[str, tuple[str, ...]]:
    """Return ObjectNet's 113 folders that stand for classes of ImageNet, each with the wnids of its classes.

    >>> len(objectnet_folders()), objectnet_folders()["bicycle"]
    (113, ('n02835271', 'n03792782'))
    """
    return {folder: wnids for folder, (_, wnids) in _objectnet().items()}


@cache
def objectnet_labels() -> Mapping[str, str]:
    """Return the same folders by ObjectNet's labels, in lower case.

    >>> objectnet_labels()["butcher's knife"]
    'butchers_knife'
    """
    return {label.casefold(): folder for folder, (label, _) in _objectnet().items()}


def _objectnet() -> dict[str, tuple[str, tuple[str, ...]]]:
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for line in _OBJECTNET_TABLE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            wnid, folder, label = line.split("\t")
            found[folder] = (label, (*found.get(folder, ("", ()))[1], wnid))
    return dict(sorted(found.items()))
