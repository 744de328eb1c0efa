"""A collection of labeled images, and parts of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.errors import InputError, quoted, shortened
from imagenet_captions.storage.places import Place

Integers = npt.NDArray[np.int64]
Content = TypeVar("Content", covariant=True)
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


class Reader(Protocol[Content]):
    """Reads the images, or the texts, of a source by row."""

    def read(self, row: int) -> Content: ...


@dataclass(frozen=True)
class Examples:
    """Images by row, each with its label and texts. Worker processes get a copy and open the files themselves.

    `classes` is None if no row has a label; `labels` are indices into `classes`, -1 for an unknown label. `left_out`
    counts the rows of the source that have no image. Images and texts are read on demand; `rows` are the rows of
    `ids`, `images`, `stored_texts` and `stored_domains` that belong to the examples, None for all.
    """

    source: Place
    classes: tuple[Class, ...] | None
    labels: Integers
    ids: pa.Array | pa.ChunkedArray
    images: Reader[bytes]
    stored_texts: Reader[Texts] | None = None
    left_out: int = 0
    stored_domains: Sequence[str] | None = None
    rows: Integers | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def image_id(self, index: int) -> str:
        """Return the image's id: ImageNet's if its name has one, else its path or key."""
        return str(self.ids[self._row(index)].as_py())

    def image(self, index: int) -> bytes:
        """Return the image as it is stored, not decoded."""
        return self.images.read(self._row(index))

    def texts(self, index: int) -> Texts:
        """Return the image's texts."""
        return Texts() if self.stored_texts is None else self.stored_texts.read(self._row(index))

    @property
    def domains(self) -> list[str] | None:
        """The domain of each image, "" for none; None for a source without a column `domain`."""
        if self.stored_domains is None:
            return None
        return [self.stored_domains[self._row(index)] for index in range(len(self))]

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])


def select(examples: Examples, rows: Sequence[int] | Integers) -> Examples:
    """Return the examples of these rows, in this order; classes and their numbers stay the same."""
    chosen = np.asarray(rows, np.int64)
    if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(examples)):
        raise IndexError(f"rows are 0 to {len(examples) - 1}")
    of_source = chosen if examples.rows is None else examples.rows[chosen]
    return replace(examples, labels=examples.labels[chosen], rows=of_source)


def spread_rows(count: int, most: int) -> list[int]:
    """Return at most so many of `count` rows, evenly spread, for a look at some of many.

    >>> spread_rows(3, 10), spread_rows(1001, 3)
    ([0, 1, 2], [0, 500, 1000])
    """
    rows: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)).tolist()
    return rows


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
