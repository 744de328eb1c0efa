"""A labeled image, a collection of them, and a subset view."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.storage.places import Place

Integers = npt.NDArray[np.int64]
_SHOWN = 5


class Class(NamedTuple):
    """The class of a label: `key` is a wnid or a folder's name, `name` is for people and captions."""

    key: str
    name: str


@dataclass(frozen=True)
class Texts:
    """The texts of one image; a missing one is empty."""

    title: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    caption: str = ""


class Examples(Protocol):
    """Images by row, each with its label and texts. Worker processes get a copy and open the files themselves.

    `classes` is None if no row has a label; `labels` are indices into `classes`, -1 for an unknown label. `left_out`
    counts the rows of the source that have no image.
    """

    @property
    def source(self) -> Place: ...
    @property
    def classes(self) -> tuple[Class, ...] | None: ...
    @property
    def labels(self) -> Integers: ...
    @property
    def left_out(self) -> int: ...
    def __len__(self) -> int: ...

    def image_id(self, index: int) -> str:
        """Return the image's id: ImageNet's if its name has one, else its path or key."""
        ...

    def image(self, index: int) -> bytes:
        """Return the image as it is stored, not decoded."""
        ...

    def texts(self, index: int) -> Texts:
        """Return the image's texts."""
        ...


@dataclass(frozen=True)
class Selected:
    """Some rows of other examples, in the order given."""

    whole: Examples
    rows: Integers

    @property
    def source(self) -> Place:
        return self.whole.source

    @property
    def classes(self) -> tuple[Class, ...] | None:
        return self.whole.classes

    @cached_property
    def labels(self) -> Integers:
        return self.whole.labels[self.rows]

    @property
    def left_out(self) -> int:
        return self.whole.left_out

    def __len__(self) -> int:
        return len(self.rows)

    def image_id(self, index: int) -> str:
        return self.whole.image_id(int(self.rows[index]))

    def image(self, index: int) -> bytes:
        return self.whole.image(int(self.rows[index]))

    def texts(self, index: int) -> Texts:
        return self.whole.texts(int(self.rows[index]))


def select(examples: Examples, rows: Sequence[int] | Integers) -> Examples:
    """Return the examples of these rows, in this order; classes and their numbers stay the same."""
    chosen = np.asarray(rows, np.int64)
    if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(examples)):
        raise IndexError(f"rows are 0 to {len(examples) - 1}")
    return Selected(examples, chosen)


def only_ids(examples: Examples, ids: Collection[str]) -> Examples:
    """Return the examples with these image ids, in their own order.

    Raises InputError for ids without an image, as in a list made from another set, so that no run trains on fewer.
    """
    wanted = frozenset(ids)
    rows = [row for row in range(len(examples)) if examples.image_id(row) in wanted]
    missing = wanted.difference(examples.image_id(row) for row in rows)
    if missing:
        raise InputError(
            f"{len(missing):,} of {len(wanted):,} ids are not in {examples.source}, such as {quoted(min(missing))}; "
            "give a list of ids that was made from it"
        )
    return select(examples, rows)


def require_classes(examples: Examples) -> tuple[Class, ...]:
    """Return the classes; raises InputError if an image has no label."""
    unknown = int(np.count_nonzero(examples.labels < 0))
    if examples.classes is None or unknown == len(examples):
        raise InputError(
            f"{examples.source} has no labels; give a set with a column label or class_name, .cls members, "
            "or folders named for the classes"
        )
    if unknown:
        raise InputError(f"{unknown:,} images of {examples.source} have no label; leave them out, with `ids` for one")
    return examples.classes


def classes_without_images(examples: Examples) -> tuple[Class, ...]:
    """Return the classes without images."""
    if examples.classes is None:
        return ()
    labels = examples.labels
    counts = np.bincount(labels[labels >= 0], minlength=len(examples.classes))
    return tuple(class_ for class_, count in zip(examples.classes, counts, strict=True) if not count)


def named(classes: Sequence[Class]) -> str:
    """Return the first few classes as text, for a message.

    >>> named([Class("n01440764", "tench")])
    'n01440764 (tench)'
    """
    shown = [
        f"{shortened(key, 40)} ({shortened(name, 40)})" if name != key else shortened(key, 40)
        for key, name in classes[:_SHOWN]
    ]
    return ", ".join(shown) + (" …" if len(classes) > _SHOWN else "")
