"""Labels read from texts, as for the paper's NoCLIP: a row gets a class if its text names exactly that one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from imagenet_captions.images.examples import Class, Texts, find_named

Ints = npt.NDArray[np.int64]


def text_labels(texts: Iterable[Texts], classes: Sequence[Class]) -> Ints:
    """Return for each row the only class that it names, or -1 if it names none or several.

    >>> animals = [Class("cat", "cat"), Class("dog", "dog")]
    >>> text_labels([Texts(title="My cats"), Texts(title="cat", tags=("dog",)), Texts(caption="a Dog!")], animals)
    array([ 0, -1,  1])
    """
    named = find_named(texts, classes)
    return np.fromiter((labels[0] if len(labels) == 1 else -1 for labels in named), np.int64)
