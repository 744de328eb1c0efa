"""A classifier with one direction for each class: the mean of its images' features or of its sentences' embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagenet_captions.evaluation.accuracy import Labels, Scores
from imagenet_captions.evaluation.classifiers.classifier import unit


@dataclass(frozen=True)
class Cosine:
    """Scores by the cosine to each class's direction, `[classes, width]`; one of length zero is never chosen."""

    directions: npt.NDArray[np.float32]

    def scores(self, features: npt.NDArray[np.float32]) -> Scores:
        """Return the cosines `[images, classes]`."""
        found = unit(features) @ self.directions.T
        found[:, ~self.directions.any(axis=1)] = -np.inf
        return found


def fit_prototypes(features: npt.NDArray[np.float32], labels: Labels, count: int) -> Cosine:
    """Return the normalized mean of each class's normalized features.

    >>> found = fit_prototypes(np.array([[2, 0], [0, 3], [0, 5]], np.float32), np.array([0, 1, 1]), 3)
    >>> found.scores(np.array([[0, 9]], np.float32)).tolist()
    [[0.0, 1.0, -inf]]
    """
    sums = np.zeros((count, features.shape[1]), np.float64)
    np.add.at(sums, labels, unit(features))
    return Cosine(unit(sums.astype(np.float32)))
