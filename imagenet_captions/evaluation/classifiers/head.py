"""The classifier that uses the model's own head, restricted to the classes of a test set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.accuracy import Scores
from imagenet_captions.evaluation.classifiers.classifier import HEAD, find_columns, shown, take_columns, without_names
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.images.examples import Class
from imagenet_captions.models.model import Model


class Head:
    """The logits of the classes of a test set; the head must have all of them."""

    view = HEAD

    def __init__(self, model: Model) -> None:
        if not model.has_head or model.head_classes is None:
            raise InputError(
                f"model {model.name} has no head of classes; give `classifier` zero-shot, linear-probe, k-shot or "
                "prototypes"
            )
        self._model = model.name
        self._classes = tuple(
            Class(key, imagenet.by_wnid(key).name if imagenet.is_class(key) else key) for key in model.head_classes
        )

    def prepare(self, classes: Sequence[Class]) -> None:
        """Refuse a test set with a class that the head does not have."""
        columns = find_columns(self._classes, classes)
        missing = [each for each, column in zip(classes, columns, strict=True) if column < 0]
        if missing:
            raise InputError(
                f"the head of {self._model} has {len(self._classes)} classes ({shown(self._classes)}), and "
                f"{len(missing)} of the test set's {len(classes)} are not among them ({shown(missing)}); "
                "give another test set, or another classifier"
            )

    def scores(self, features: npt.NDArray[np.float32], classes: Sequence[Class]) -> Scores:
        """Return the logits `[images, classes]` of the wanted classes."""
        return take_columns(features, find_columns(self._classes, classes))

    def named(self, classes: Sequence[Class]) -> Sequence[Class]:
        """Return the classes without names."""
        return without_names(classes)

    def describe(self) -> dict[str, Any]:
        """Return how the classifier was made."""
        return {"head_classes": len(self._classes)}
