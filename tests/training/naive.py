"""The losses in plain loops, as their papers write them."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def contrastive(images: Floats, texts: Floats, scale: float) -> float:
    """CLIP's loss: the mean cross-entropy of each image among the texts and each text among the images."""
    losses = []
    for ours, theirs in ((images, texts), (texts, images)):
        for i in range(len(ours)):
            scores = [scale * float(np.dot(ours[i], theirs[j])) for j in range(len(theirs))]
            losses.append(-scores[i] + math.log(sum(math.exp(score) for score in scores)))
    return sum(losses) / len(losses)


def cross_entropy(logits: Floats, labels: list[int]) -> float:
    """The mean over rows of minus the log of the label's share."""
    losses = []
    for row, label in zip(logits, labels, strict=True):
        losses.append(-math.log(math.exp(row[label]) / sum(math.exp(score) for score in row)))
    return sum(losses) / len(losses)


def nt_xent(one: Floats, other: Floats, temperature: float) -> float:
    """SimCLR's algorithm 1: views 2k and 2k+1 are of one image."""
    views = [view / np.linalg.norm(view) for pair in zip(one, other, strict=True) for view in pair]
    total = 0.0
    for i in range(len(views)):
        partner = i + 1 if i % 2 == 0 else i - 1
        similar = [math.exp(float(np.dot(views[i], views[k])) / temperature) for k in range(len(views))]
        total -= math.log(similar[partner] / (sum(similar) - similar[i]))
    return total / len(views)
