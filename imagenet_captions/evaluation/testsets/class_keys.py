"""The classes of ImageNet that the folders or labels of a test set stand for: wnids, numbers or names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.evaluation.testsets.known import OBJECTNET, KnownSet, objectnet_folders, objectnet_labels
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import is_wnid

_SHOWN = 3


def answers_of(known: KnownSet) -> Mapping[str, tuple[str, ...]]:
    """Return the answers of a model, each with its wnids: one, or for ObjectNet a group."""
    return objectnet_folders() if known.name == OBJECTNET else {wnid: (wnid,) for wnid in known.wnids}


def read_keys(keys: Sequence[str], known: KnownSet, where: str) -> dict[str, str | None]:
    """Return the answer for each folder or label; None for those of ObjectNet outside ImageNet's classes.

    `keys` are in the order of the labels, if there is one. Raises InputError if they are not the set's classes.
    """
    if known.name == OBJECTNET:
        return _objectnet(keys, where)
    if all(map(is_wnid, keys)):
        return _checked({key: key for key in keys}, known, where)
    if all(key.isascii() and key.isdigit() for key in keys):
        return _checked(_numbers(keys, known, where), known, where)
    return _names(keys, known, where)


def _objectnet(keys: Sequence[str], where: str) -> dict[str, str | None]:
    folders, labels = objectnet_folders(), objectnet_labels()
    found: dict[str, str | None] = {}
    for key in keys:
        folder = key.lower().replace(" ", "_")
        found[key] = folder if folder in folders else labels.get(key.casefold())
    if not any(found.values()):
        raise InputError(
            f"{where} has no folder of ObjectNet that is a class of ImageNet, but {_some(keys)}; "
            "give the folder with alarm_clock, backpack and so on in it"
        )
    return found


def _checked(found: dict[str, str], known: KnownSet, where: str) -> dict[str, str | None]:
    wnids = set(known.wnids)
    others = [key for key, wnid in found.items() if wnid not in wnids]
    if others:
        raise InputError(
            f"{where} has {_some(others)} beside the {len(wnids)} classes of {known.label}; "
            f"check that `test_sets` {known.name}= names the right place"
        )
    return dict(found)


def _numbers(keys: Sequence[str], known: KnownSet, where: str) -> dict[str, str]:
    """Read numbers as indices of the 1000 classes (ImageNetV2's folders), or as ranks among the set's own classes."""
    everything, own = classes.wnids(), known.wnids
    numbers = {key: int(key[:9]) for key in keys}
    if max(numbers.values()) >= len(everything):
        raise InputError(f"{where} has the label {max(numbers.values())}; the classes are 0 to {len(everything) - 1}")
    if len(own) == len(everything) or max(numbers.values()) >= len(own):
        return {key: everything[number] for key, number in numbers.items()}
    if all(everything[number] in own for number in numbers.values()):
        raise InputError(
            f"{where} has labels by number, and they may be indices of the 1000 classes or of the {len(own)} of "
            f"{known.label}; give the set with wnids"
        )
    return {key: own[number] for key, number in numbers.items()}


def _names(keys: Sequence[str], known: KnownSet, where: str) -> dict[str, str | None]:
    """Read names such as "tench, Tinca tinca"; the place among all classes decides for an ambiguous one."""
    own = known.wnids
    by_name = {key: _named(key, own) for key in keys}
    by_place = dict(zip(keys, own, strict=True)) if len(keys) == len(own) == len(by_name) else {}
    if by_place and all(wnid in (None, by_place[key]) for key, wnid in by_name.items()):
        if any(by_name.values()):
            return dict(by_place)
    elif all(by_name.values()) and len(set(by_name.values())) == len(keys):
        return dict(by_name)
    unclear = [key for key, wnid in by_name.items() if wnid is None] or list(keys)
    raise InputError(
        f"{where} has classes that are not those of {known.label}: {_some(unclear)}; give folders or labels by wnid"
    )


def _named(key: str, own: Sequence[str]) -> str | None:
    """Return the class of a set that has all these names, if there is exactly one."""
    spellings = [part for part in (_folded(part) for part in key.split(",")) if part in _by_name()]
    wnids = set.intersection(*(_by_name()[part] for part in spellings)) & set(own) if spellings else set()
    return wnids.pop() if len(wnids) == 1 else None


@cache
def _by_name() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for wnid in classes.wnids():
        class_ = classes.by_wnid(wnid)
        for name in (class_.name, *class_.lemmas):
            found.setdefault(_folded(name), set()).add(wnid)
    return found


def _folded(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _some(keys: Iterable[str]) -> str:
    listed = list(keys)
    shown = ", ".join(quoted(key, 40) for key in listed[:_SHOWN])
    return shown if len(listed) <= _SHOWN else f"{shown} and {len(listed) - _SHOWN} more"
