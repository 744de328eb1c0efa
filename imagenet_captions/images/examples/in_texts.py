"""The classes of a set of examples that texts name, and how often a class occurs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa

from imagenet_captions.captions import mentions
from imagenet_captions.engines.local import in_batches
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.imagenet.class_names import plurals
from imagenet_captions.images.examples import Class, Texts

_AT_ONCE = 10_000


@dataclass(frozen=True)
class ClassCount:
    """A class of labeled data: the images that have its label, and the captions that name it."""

    class_: Class
    images: int
    mentions: int


def find_named(texts: Iterable[Texts], classes: Sequence[Class]) -> Iterator[list[int]]:
    """Yield for each row the classes that it names, as indices into `classes`.

    ImageNet's classes are found by all their names, as `label-by-text` finds them; other ones by their own name.

    >>> animals = [Class("cat", "cat"), Class("dog", "dog")]
    >>> list(find_named([Texts(title="My cats"), Texts(title="cat", tags=("dog",)), Texts(caption="a fish")], animals))
    [[0], [0, 1], []]
    """
    known = {wnid: label for label, wnid in enumerate(imagenet.wnids())}
    places = {known[each.key]: place for place, each in enumerate(classes) if each.key in known}
    others = {place: each for place, each in enumerate(classes) if each.key not in known}
    finders = [_imagenet_finder(places)] if places else []
    finders += [_plain_finder(others)] if others or not places else []
    for batch in in_batches(texts, _AT_ONCE):
        for found in zip(*(find(batch) for find in finders), strict=True):
            yield sorted(chain(*found))


def _imagenet_finder(place: dict[int, int]) -> Callable[[list[Texts]], list[list[int]]]:
    """Find only names of the set's classes; other classes' names do not count."""

    def find(batch: list[Texts]) -> list[list[int]]:
        fields = [
            pa.array([text.title or text.caption for text in batch], pa.string()),
            pa.array([text.description for text in batch], pa.string()),
            pa.array([list(text.tags) for text in batch], pa.list_(pa.string())),
        ]
        named = mentions.matcher().find(mentions.join_fields(fields)).to_pylist()
        return [[place[label] for label in labels if label in place] for labels in named]

    return find


def _plain_finder(classes: Mapping[int, Class]) -> Callable[[list[Texts]], list[list[int]]]:
    """Find the names of these classes and their plurals."""
    patterns = {
        place: re.compile(r"\b(?:" + "|".join(map(re.escape, (each.name, *plurals(each.name)))) + r")\b", re.IGNORECASE)
        for place, each in classes.items()
    }

    def find(batch: list[Texts]) -> list[list[int]]:
        joined = ["\n".join((text.title, text.description, *text.tags, text.caption)) for text in batch]
        return [[place for place, pattern in patterns.items() if pattern.search(text)] for text in joined]

    return find
