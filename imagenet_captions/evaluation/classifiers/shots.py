"""Choose k images of each class, in an order by a hash of seed and id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imagenet_captions.dataset.sampling import sampling_key
from imagenet_captions.evaluation.accuracy import Labels


def choose_shots(ids: Sequence[str], labels: Labels, k: int, seed: int) -> Labels:
    """Return the indices of k images of each class, or of all if it has fewer, in ascending order.

    What is taken does not depend on how the images are ordered, and fewer shots lie within more.

    >>> few, many = (choose_shots(list("abcdef"), np.array([0, 0, 0, 1, 1, 1]), k, seed=0) for k in (1, 2))
    >>> len(few), len(many), set(few.tolist()) <= set(many.tolist())
    (2, 4, True)
    """
    order = sorted(range(len(ids)), key=lambda index: (sampling_key(ids[index], seed), ids[index]))
    taken: Counter[int] = Counter()
    chosen = []
    for index in order:
        label = int(labels[index])
        if label >= 0 and taken[label] < k:
            taken[label] += 1
            chosen.append(index)
    return np.array(sorted(chosen), np.int64)


def hold_out(ids: Sequence[str], labels: Labels, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return a mask of the images that are held out: this share of every class, rounded down."""
    quota = {label: int(count * share) for label, count in Counter(labels.tolist()).items()}
    held = np.zeros(len(ids), np.bool_)
    for index in sorted(range(len(ids)), key=lambda index: (sampling_key(ids[index], seed), ids[index])):
        label = int(labels[index])
        if quota[label] > 0:
            quota[label] -= 1
            held[index] = True
    return held
