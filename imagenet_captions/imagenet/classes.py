"""The classes of ImageNet: wnids, indices, names and WordNet ancestors.

There are two sets: the 1000 of ILSVRC-2012, the default everywhere, and all 21,841 synsets of ImageNet's release of
fall 2011. A class's index is the rank of its wnid in its set, as in torchvision's ImageFolder (the devkit's
ILSVRC2012_ID is another order). Two classes are called "missile": names are for people, and `resolve` does not guess.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from numbers import Integral
from pathlib import Path
from typing import Any

from imagenet_captions.errors import InputError, quoted, require_kind, shortened, unknown_name
from imagenet_captions.imagenet.image_ids import WNID
from imagenet_captions.storage.files import read_text
from imagenet_captions.storage.places import Place, PlaceLike, place

CLASSES = "The classes to use: the 1000 of ILSVRC-2012, or all 21,841 of ImageNet's fall 2011."


class ClassSet(str, Enum):
    """A set of classes: the 1000 of ILSVRC-2012, or all."""

    ILSVRC2012 = "ilsvrc2012"
    ALL = "all"

    @property
    def shown(self) -> str:
        """The name of the set in messages."""
        return "the 1000 classes" if self is ClassSet.ILSVRC2012 else "the 21,841 classes"

    @classmethod
    def recorded(cls, settings: Mapping[str, Any]) -> ClassSet:
        """Return the set named in recorded settings; older files without one have the 1000."""
        return cls(settings.get("classes", cls.ILSVRC2012))


DATA = Path(__file__).parent.parent / "data"  # data/SOURCES.md says where the tables come from
DEVKIT_ORDER = DATA / "devkit_order.txt"  # the 1000 wnids in the devkit's order
_MOST_DIGITS = 80
_ADVICE = "give a wnid, an index, a class's name or a wider one such as 'dog'"
_TABLES = {ClassSet.ILSVRC2012: "classes.tsv", ClassSet.ALL: "classes_all.tsv"}
_ONE = ClassSet.ILSVRC2012


@dataclass(frozen=True)
class ImageNetClass:
    """A class of a set.

    `name` is open_clip's curated name for the 1000, and WordNet's first lemma for other classes; `lemmas` and `gloss`
    are WordNet's, and `ancestors` are the wnids of all synsets above the class, nearest first.
    """

    wnid: str
    index: int
    name: str
    lemmas: tuple[str, ...]
    gloss: str
    ancestors: tuple[str, ...]


def wnids(among: ClassSet = _ONE) -> tuple[str, ...]:
    """Return the sorted wnids of the classes; a class's index is its position here.

    >>> wnids()[0], len(wnids()), len(wnids(ClassSet.ALL))
    ('n01440764', 1000, 21841)
    """
    return _tables(among).wnids


def by_wnid(wnid: str, among: ClassSet = _ONE) -> ImageNetClass:
    """Return the class with this wnid; raises InputError if there is none."""
    found = _tables(among).classes.get(wnid)
    if found is None:
        raise InputError(f"{quoted(wnid)} is not the wnid of one of {among.shown}; give one such as 'n01440764'")
    return found


def find(wnid: str) -> ImageNetClass | None:
    """Return the class with this wnid from the first set that has it, the 1000 before all; None if no set has it."""
    for among in ClassSet:
        if is_class(wnid, among):
            return by_wnid(wnid, among)
    return None


def by_index(index: int, among: ClassSet = _ONE) -> ImageNetClass:
    """Return the class with this index, 0 to 999 among the 1000."""
    last = len(wnids(among)) - 1
    if not 0 <= index <= last:
        raise InputError(f"the index of a class must be 0 to {last}, not {shortened(index)}")
    return by_wnid(wnids(among)[index], among)


def index_of(wnid: str, among: ClassSet = _ONE) -> int | None:
    """Return the index of a class, or None if the wnid is not a class of the set."""
    found = _tables(among).classes.get(wnid)
    return None if found is None else found.index


def is_class(wnid: str, among: ClassSet = _ONE) -> bool:
    """Return whether a wnid is a class of the set; "dog" is an ancestor of some of the 1000, and a class of all."""
    return wnid in _tables(among).classes


def resolve(name: str | int, among: ClassSet = _ONE) -> tuple[str, ...]:
    """Return the sorted wnids of the classes that a name stands for.

    A name may be the wnid of a class or of an ancestor, an index as number or digits, or any curated name or
    WordNet lemma of a class or an ancestor; case does not matter, and underscores count as spaces.

    >>> resolve("tench") == resolve("Tinca_tinca") == resolve(0) == resolve("0") == ("n01440764",)
    True
    >>> len(resolve("dog")), len(resolve("n02084071"))
    (118, 118)

    Raises InputError for an unknown name, with the closest known names, and for a name of several things that differ
    in their classes, with their wnids: the wnid says which one is meant.
    """
    require_kind("name", name, (str, Integral), "a wnid, an index or a name of a class")
    if not isinstance(name, str):
        return (by_index(int(name), among).wnid,)
    plain, tables = folded(name), _tables(among)
    if plain in tables.covered:
        return tuple(tables.covered[plain])
    if plain.isascii() and plain.isdigit() and len(plain) <= _MOST_DIGITS:
        return (by_index(int(plain), among).wnid,)
    candidates = tables.named.get(plain, [])
    if not candidates:
        raise unknown_name("class", name, tables.named, _ADVICE)
    found = {tuple(tables.covered[wnid]) for wnid in candidates}
    if len(found) > 1:
        raise InputError(_ambiguous(name, candidates, tables))
    return found.pop()


@dataclass(frozen=True)
class _Synset:
    name: str  # the curated name; "" for an ancestor
    hypernyms: tuple[str, ...]
    lemmas: tuple[str, ...]
    gloss: str


@dataclass(frozen=True)
class _Tables:
    wnids: tuple[str, ...]
    classes: Mapping[str, ImageNetClass]
    synsets: Mapping[str, _Synset]
    covered: Mapping[str, list[str]]  # wnid of a class or an ancestor → the classes at or below it
    named: Mapping[str, list[str]]  # folded name → wnids of the classes and ancestors that have it


def read_table(name: str) -> list[list[str]]:
    """Return the cells of a tab-separated table of the package, without comments."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if not line.startswith("#")]


@cache
def _tables(among: ClassSet) -> _Tables:
    synsets = {}
    for wnid, name, hypernyms, lemmas, gloss in read_table(_TABLES[among])[1:]:
        synsets[wnid] = _Synset(name, tuple(hypernyms.split()), tuple(lemmas.split("|")), gloss)
    order = tuple(wnid for wnid, synset in synsets.items() if synset.name)
    classes = {}
    for index, wnid in enumerate(order):
        synset = synsets[wnid]
        ancestors = list(dict.fromkeys(synset.hypernyms))
        for above in ancestors:  # grows while it is read: the nearest come first
            ancestors += [each for each in synsets[above].hypernyms if each not in ancestors]
        classes[wnid] = ImageNetClass(wnid, index, synset.name, synset.lemmas, synset.gloss, tuple(ancestors))
    covered: dict[str, list[str]] = {wnid: [] for wnid in synsets}
    for wnid, class_ in classes.items():
        for above in (wnid, *class_.ancestors):
            covered[above].append(wnid)
    named: dict[str, list[str]] = {}
    for wnid, synset in synsets.items():
        for name in {folded(each) for each in (synset.name, *synset.lemmas) if each}:
            named.setdefault(name, []).append(wnid)
    return _Tables(order, classes, synsets, covered, named)


def folded(name: str) -> str:
    """Return a name without the differences that do not matter: case, underscores for spaces, more spaces."""
    return " ".join(name.replace("_", " ").casefold().split())


def _ambiguous(name: str, candidates: list[str], tables: _Tables) -> str:
    lines = [f"{quoted(name)} names {len(candidates)} different things; give the wnid of the one you mean:"]
    for wnid in candidates:
        synset, count = tables.synsets[wnid], len(tables.covered[wnid])
        classes = "1 class" if count == 1 else f"{count} classes"
        lines.append(f"  {wnid}  {synset.name or synset.lemmas[0]} ({classes}): {shortened(synset.gloss)}")
    return "\n".join(lines)


_LISTS = DATA / "lists"
_WNID_FIRST = re.compile(rf"({WNID})(?:[\s,]|$)")
_SHARED_NAMES = ("imagenet-100", "in-100", "imagenet100", "in100")


def list_names() -> tuple[str, ...]:
    """Return the names of the lists in the package."""
    return tuple(sorted(path.stem for path in _LISTS.glob("*.txt")))


def read_list(name: PlaceLike) -> tuple[str, ...]:
    """Return the sorted wnids of a list, given by name or as a file.

    A file has one class a line: a wnid, optionally followed by other text (as in Kaggle's LOC_synset_mapping.txt), or
    any name that `resolve` accepts. Lines that start with # are comments.

    >>> len(read_list("imagenet-a")), len(read_list("objectnet"))
    (200, 125)
    """
    shipped = _LISTS / f"{name}.txt"
    if str(name) in list_names():
        return _read_list(shipped)
    if (file := place(name)).exists() or os.path.lexists(str(name)):
        return _read_list(file)
    if str(name).lower().replace("_", "-") in _SHARED_NAMES:
        several = [each for each in list_names() if each.startswith("imagenet-100-")]
        raise InputError(f"several lists are called {str(name)!r}; give one of {', '.join(several)}")
    raise InputError(
        f"{quoted(name)} is neither a class list nor a file; the lists are {', '.join(list_names())}, "
        "and a file has one class a line"
    )


def _read_list(path: Place) -> tuple[str, ...]:
    found: set[str] = set()
    for number, line in enumerate(read_text(path, "the class list").splitlines(), 1):
        text = line.split("\t")[0].strip()
        if text and not text.startswith("#"):
            wnid = _WNID_FIRST.match(text)
            try:
                found.update([wnid[1]] if wnid and find(wnid[1]) else resolve(text))
            except InputError as error:
                raise InputError(f"{path}, line {number}: {error}") from None
    if not found:
        raise InputError(f"{path} has no class; give a file with a class a line")
    return tuple(sorted(found))
