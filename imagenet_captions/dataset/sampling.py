"""Seeded samples and orders of rows."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from imagenet_captions.dataset.settings import FilterSettings, parse_sample, parse_trim
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import image_id as read_image_id
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.storage.files import read_text
from imagenet_captions.storage.places import Place

Integers = npt.NDArray[np.int64]


def sampling_key(image_id: str, seed: int) -> bytes:
    """Return the key by which rows are sorted for sampling, so that a larger sample contains every smaller one.

    >>> sampling_key("n01440764_10026", 0).hex()
    'aeb464c8594adadfb8db7b87f87dcf3c'
    """
    return hashlib.blake2b(f"{seed}/{image_id}".encode(), digest_size=16).digest()


def seeded_order(ids: Iterable[str], seed: int) -> npt.NDArray[np.int64]:
    """Return the numbers of the rows with these ids, in the order of a dataset that is shuffled with this seed.

    The order of any part of the rows is the same, because it depends on each id alone.

    >>> seeded_order(["n01440764_1", "n01440764_2", "n01440764_3"], seed=1).tolist()
    [1, 0, 2]
    """
    joined = b"".join(sampling_key(image_id, seed) for image_id in ids)
    keys = np.frombuffer(joined, ">u8").reshape(-1, 2)
    return np.lexsort((keys[:, 1], keys[:, 0]))


def sampling_chance(image_id: str, seed: int) -> float:
    """Return a number of at least 0 and below 1; a weighted sample keeps a row if its probability is above it.

    It is the second half of the key. The first half sorts, so that a sample of a weighted sample is a fair one.

    >>> round(sampling_chance("n01440764_10026", 0), 6)
    0.722099
    """
    return (int.from_bytes(sampling_key(image_id, seed)[8:], "big") >> 11) / (1 << 53)


def choose(ids: Sequence[str], settings: FilterSettings, like: Mapping[str, int] | None = None) -> dict[str, str]:
    """Return the ids that sampling leaves out, each with the step that did so.

    `like` has the number of rows for each class; none is kept of a class that is not in it.

    >>> choose(["n01440764_1", "n01440764_2", "n01443537_1"], FilterSettings(per_class=1))
    {'n01440764_2': 'per-class'}
    """
    ordered = [ids[at] for at in seeded_order(ids, settings.seed).tolist()]
    out: dict[str, str] = {}

    def limit(step: str, limits: Mapping[str, int]) -> None:
        taken: Counter[str] = Counter()
        for image_id in ordered:
            wnid = wnid_of(image_id)
            taken[wnid] += 1
            if taken[wnid] > limits.get(wnid, 0):
                out[image_id] = step
        ordered[:] = [image_id for image_id in ordered if image_id not in out]

    counts = Counter(map(wnid_of, ordered))
    if settings.trim_tail is not None:
        tail, rows = parse_trim(settings.trim_tail)
        rarest = sorted(counts, key=lambda wnid: (counts[wnid], wnid))[:tail]  # the lower wnid wins a tie
        limit("trim-tail", {**counts, **dict.fromkeys(rarest, rows)})
    if like is not None:
        limit("like", like)
    if settings.per_class is not None:
        limit("per-class", dict.fromkeys(counts, settings.per_class))
    if settings.sample is not None:
        sample = parse_sample(settings.sample)
        count = round(sample * len(ordered)) if isinstance(sample, float) else sample
        out.update(dict.fromkeys(ordered[count:], "sample"))
    return out


def random_classes(present: Sequence[str], count: int, seed: int) -> list[str]:
    """Return `count` of the wnids, chosen by a hash of the seed; more classes contain fewer ones.

    >>> random_classes(["n01440764", "n01443537", "n02099601"], 2, seed=0)
    ['n01440764', 'n01443537']

    Raises InputError if fewer wnids are present.
    """
    if not 1 <= count <= len(present):
        raise InputError(
            f"`random_classes` must be at least 1 and at most {len(present):,}, the classes that have rows, not {count}"
        )
    return sorted(sorted(present, key=lambda wnid: (sampling_key(wnid, seed), wnid))[:count])


def read_ids(path: Place) -> pa.Array:
    """Read a text file with one image id per line, in any form that `imagenet.image_ids` knows."""
    found = []
    for number, line in enumerate(read_text(path, "the file of ids").splitlines(), 1):
        if line.strip():
            found.append(read_image_id(line.strip()))
            if found[-1] is None:
                raise InputError(
                    f"{path}, line {number}: {quoted(line)} is not an image id; give one such as n01440764_10026"
                )
    if not found:
        raise InputError(f"{path} holds no image id; give one a line")
    return pa.array(found, pa.string())


def read_counts(path: Place, among: ClassSet = ClassSet.ILSVRC2012) -> dict[str, int]:
    """Read a tab-separated table of the number of rows per class, with the columns `wnid` and `count`."""
    lines = [line for line in read_text(path, "the table of counts").splitlines() if line.strip()]
    rows = [*csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    if not rows or not {"wnid", "count"} <= rows[0].keys():
        raise InputError(f"{path} has no counts; give a tab-separated table with the columns wnid and count")
    wanted: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        wnid, count = ((row[name] or "").strip() for name in ("wnid", "count"))
        if not classes.is_class(wnid, among) or wnid in wanted:
            raise InputError(f"{path}, row {number}: {quoted(wnid)} is not a wnid of the dataset, or is there twice")
        if not (count.isascii() and count.isdigit() and len(count) < 10):
            raise InputError(f"{path}, row {number}: {quoted(count)} is not a count; give a whole number")
        wanted[wnid] = int(count)
    return wanted
