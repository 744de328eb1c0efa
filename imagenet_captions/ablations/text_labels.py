"""Labels read from texts, as for the paper's NoCLIP: a row gets a class if its text names exactly that one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.captions import mentions
from imagenet_captions.engines.local import in_batches
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.imagenet.class_names import plurals
from imagenet_captions.images.examples import Class, Texts

Ints = npt.NDArray[np.int64]

_AT_ONCE = 10_000


def text_labels(texts: Iterable[Texts], classes: Sequence[Class]) -> Ints:
    """Return for each row the only class that it names, or -1 if it names none or several.

    ImageNet's classes are found by all their names, as `label-by-text` finds them; other ones by their own name.

    >>> animals = [Class("cat", "cat"), Class("dog", "dog")]
    >>> text_labels([Texts(title="My cats"), Texts(title="cat", tags=("dog",)), Texts(caption="a Dog!")], animals)
    array([ 0, -1,  1])
    """
    known = {wnid: label for label, wnid in enumerate(imagenet.wnids())}
    if all(each.key in known for each in classes):
        find = _imagenet_finder({known[each.key]: place for place, each in enumerate(classes)})
    else:
        find = _plain_finder(classes)
    found = map(find, in_batches(texts, _AT_ONCE))
    return np.concatenate([np.empty(0, np.int64), *found])


def _imagenet_finder(place: dict[int, int]) -> Callable[[list[Texts]], Ints]:
    """Find only names of the set's classes; other classes' names do not count."""

    def find(batch: list[Texts]) -> Ints:
        fields = [
            pa.array([text.title or text.caption for text in batch], pa.string()),
            pa.array([text.description for text in batch], pa.string()),
            pa.array([list(text.tags) for text in batch], pa.list_(pa.string())),
        ]
        named = mentions.matcher().find(mentions.join_fields(fields)).to_pylist()
        return _single([[place[label] for label in labels if label in place] for labels in named])

    return find


def _plain_finder(classes: Sequence[Class]) -> Callable[[list[Texts]], Ints]:
    patterns = [
        re.compile(r"\b(?:" + "|".join(map(re.escape, (each.name, *plurals(each.name)))) + r")\b", re.IGNORECASE)
        for each in classes
    ]

    def find(batch: list[Texts]) -> Ints:
        joined = ["\n".join((text.title, text.description, *text.tags, text.caption)) for text in batch]
        return _single([[at for at, pattern in enumerate(patterns) if pattern.search(text)] for text in joined])

    return find


def _single(named: list[list[int]]) -> Ints:
    return np.array([labels[0] if len(labels) == 1 else -1 for labels in named], np.int64)
