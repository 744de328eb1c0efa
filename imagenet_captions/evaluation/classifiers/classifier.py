"""What classifiers have in common: which view of an image they see, and scores for classes they are asked about."""

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
    """Scores for images, given as the `view` of the model that it asks for."""

    @property
    def view(self) -> str:
        """FEATURES, JOINT or HEAD."""

    def prepare(self, classes: Sequence[Class]) -> None:
        """Refuse, before any image is read, classes that it knows nothing of."""

    def scores(self, features: npt.NDArray[np.float32], classes: Sequence[Class]) -> Scores:
        """Scores `[images, classes]`, higher for likelier ones; -inf for a class that it cannot choose."""

    def describe(self) -> dict[str, Any]:
        """How it was made, for metrics.json."""


class Scorer(Protocol):
    """Weights that give a score for each class that there were examples of."""

    def scores(self, features: npt.NDArray[np.float32]) -> Scores:
        """Scores `[images, classes]`."""


@dataclass(frozen=True)
class Trained:
    """A classifier made of labelled images; one asked about classes that it had no images of never chooses those."""

    scorer: Scorer
    classes: tuple[Class, ...]
    about: dict[str, Any]
    view: str = FEATURES

    def prepare(self, classes: Sequence[Class]) -> None:
        """Refuse classes of which it had no single one."""
        if (find_columns(self.classes, classes) < 0).all():
            raise InputError(
                f"the training images' classes ({shown(self.classes)}) are not those of the test set "
                f"({shown(classes)}); give `train` data of the same classes"
            )

    def scores(self, features: npt.NDArray[np.float32], classes: Sequence[Class]) -> Scores:
        """Scores of the classes asked about, out of those it was made of."""
        return take_columns(self.scorer.scores(features), find_columns(self.classes, classes))

    def describe(self) -> dict[str, Any]:
        """How it was made."""
        return self.about


def find_columns(own: Sequence[Class], wanted: Sequence[Class]) -> Labels:
    """Where each wanted class is among a classifier's own: by key, or else by name; -1 where it is not.

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
    """The scores of these columns, -inf for a column of -1."""
    taken = scores[:, np.maximum(columns, 0)]
    taken[:, columns < 0] = -np.inf
    return taken


def shown(classes: Sequence[Class]) -> str:
    """A few classes, for a message.

    >>> shown([Class("n01440764", "tench"), Class("1", "frog")])
    'tench, frog'
    """
    names = ", ".join(shortened(each.name, 40) for each in classes[:_SHOWN])
    return names if len(classes) <= _SHOWN else f"{names} and {len(classes) - _SHOWN} more"


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors of length one; one of length zero stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), np.float32)


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
