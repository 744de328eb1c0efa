"""The interface of classifiers: which view of an image they use, and scores for the classes of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.evaluation.accuracy import Labels, Scores
from imagenet_captions.images.examples import Class

FEATURES = "features"  # what the image tower sees, before any projection
JOINT = "joint"  # the space that images and texts share
HEAD = "head"  # the logits of the model's own head

_SHOWN = 3


class Classifier(Protocol):
    """Gives scores for images, which it gets as the `view` of the model that it names."""

    @property
    def view(self) -> str:
        """FEATURES, JOINT or HEAD."""

    def prepare(self, classes: Sequence[Class]) -> None:
        """Refuse unknown classes before any image is read."""

    def scores(self, features: npt.NDArray[np.float32], classes: Sequence[Class]) -> Scores:
        """Return scores `[images, classes]`, higher for likelier classes, -inf for one that it cannot choose."""

    def named(self, classes: Sequence[Class]) -> Sequence[Class]:
        """Return classes under the names that the classifier reads, without a name where it reads none."""

    def describe(self) -> dict[str, Any]:
        """Return how the classifier was made, for metrics.json."""


class Scorer(Protocol):
    """Weights that score every class of the training images."""

    def scores(self, features: npt.NDArray[np.float32]) -> Scores:
        """Return scores `[images, classes]`."""


@dataclass(frozen=True)
class Trained:
    """A classifier made from labeled images; it never chooses a class that it had no images of."""

    scorer: Scorer
    classes: tuple[Class, ...]
    about: dict[str, Any]
    view: str = FEATURES

    def prepare(self, classes: Sequence[Class]) -> None:
        """Refuse a test set of which it knows no class at all."""
        if (find_columns(self.classes, classes) < 0).all():
            raise InputError(
                f"the training images' classes ({shown(self.classes)}) are not those of the test set "
                f"({shown(classes)}); give `train` data of the same classes"
            )

    def scores(self, features: npt.NDArray[np.float32], classes: Sequence[Class]) -> Scores:
        """Return the scores of the wanted classes."""
        return take_columns(self.scorer.scores(features), find_columns(self.classes, classes))

    def named(self, classes: Sequence[Class]) -> Sequence[Class]:
        """Return the classes without names."""
        return without_names(classes)

    def describe(self) -> dict[str, Any]:
        """Return how the classifier was made."""
        return self.about


def without_names(classes: Sequence[Class]) -> Sequence[Class]:
    """Return classes by key alone."""
    return tuple(each._replace(name="") for each in classes)


def find_columns(own: Sequence[Class], wanted: Sequence[Class]) -> Labels:
    """Return the index of each wanted class among a classifier's own, by key or else by name; -1 if it is missing.

    Keys that are numbers mean something in their own set only, so that those go by name.

    >>> find_columns([Class("0", "frog"), Class("n01440764", "tench")], [Class("n01440764", ""), Class("7", "Frog")])
    array([1, 0])
    """
    by_key = {each.key: column for column, each in enumerate(own) if not each.key.isdigit()}
    by_name: dict[str, int] = {}
    for column, each in enumerate(own):
        name = _folded(each.name)
        by_name[name] = -1 if name in by_name else column  # a name of two classes says nothing
    found = [by_key.get(each.key, by_name.get(_folded(each.name), -1)) for each in wanted]
    return np.array(found, np.int64)


def take_columns(scores: Scores, columns: Labels) -> Scores:
    """Return the scores of these columns, with -inf for a column of -1."""
    taken = scores[:, np.maximum(columns, 0)]
    taken[:, columns < 0] = -np.inf
    return taken


def shown(classes: Sequence[Class]) -> str:
    """Return a few class names for a message.

    >>> shown([Class("n01440764", "tench"), Class("1", "frog")])
    'tench, frog'
    """
    names = ", ".join(shortened(each.name, 40) for each in classes[:_SHOWN])
    return names if len(classes) <= _SHOWN else f"{names} and {len(classes) - _SHOWN} more"


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale vectors to length one; one of length zero stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
