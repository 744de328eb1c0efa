"""Labels and classes from the numbers, names or folders that a source of images has for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes as imagenet
from imagenet_captions.images.examples.example import Class

Labels = npt.NDArray[np.int64]
Labelled = tuple[tuple[Class, ...] | None, Labels]

_MOST_CLASSES = 1_000_000


def class_of(key: str, name: str | None = None) -> Class:
    """Return the class with this key; a wnid of ImageNet gets its name there.

    >>> class_of("n01440764"), class_of("7", "frog")
    (Class(key='n01440764', name='tench'), Class(key='7', name='frog'))
    """
    if name is None:
        known = imagenet.find(key)
        name = key if known is None else known.name
    return Class(key, name)


def by_key(keys: pa.Array, extra: Sequence[str] = ()) -> Labelled:
    """Return labels for rows that name their class (null or "" for none), and the classes found, sorted.

    Wnids are sorted by themselves, so that a set with all 1000 has ImageNet's labels; names that are all numbers, such
    as ImageNetV2's folders, by value. `extra` are classes that no row names.
    """
    encoded = pa.chunked_array([keys]) if isinstance(keys, pa.Array) else keys
    present = [key for key in encoded.unique().to_pylist() if key]
    every = sorted({*present, *extra})
    if not every:
        return None, np.full(len(keys), -1, np.int64)
    if all(key.isascii() and key.isdigit() for key in every):
        every.sort(key=int)
    places = pc.index_in(encoded, value_set=pa.array(every, pa.string()))
    return tuple(class_of(key) for key in every), np.asarray(pc.fill_null(places, -1), np.int64)


def by_number(numbers: pa.Array, names: Sequence[str] | None) -> Labelled:
    """Return labels for rows that have them as numbers; `names` are the names of all classes, if they are known."""
    labels = np.asarray(pc.fill_null(numbers.cast(pa.int64()), -1), np.int64)
    highest = int(labels.max(initial=-1))
    if highest < 0:
        return None, labels
    if highest >= (len(names) if names else _MOST_CLASSES):
        raise InputError(f"the label {highest} belongs to no class; labels count the classes from 0")
    return named_classes(names or [str(number) for number in range(highest + 1)]), labels


def named_classes(names: Sequence[str]) -> tuple[Class, ...]:
    """Return the classes for a list of names: ImageNet's, if these are wnids or the names of the 1000 in their order.

    >>> named_classes(["n01440764"])[0], named_classes(["frog"])[0]
    (Class(key='n01440764', name='tench'), Class(key='frog', name='frog'))
    """
    if len(names) == len(imagenet.wnids()) and all(map(_means, names, imagenet.wnids())):
        names = imagenet.wnids()
    return tuple(class_of(name) for name in names)


def _means(name: str, wnid: str) -> bool:
    """Whether a class has this name; ILSVRC/imagenet-1k has names such as "tench, Tinca tinca"."""
    class_ = imagenet.by_wnid(wnid)
    own = {each.casefold() for each in (class_.name, *class_.lemmas)}
    return name.casefold() in own or name.split(",")[0].strip().casefold() in own
