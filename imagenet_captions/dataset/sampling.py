"""Splits by a hash of the image id, and seeded samples and orders of rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError, quoted, require_kind
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import wnid_of
from imagenet_captions.storage.files import require_file
from imagenet_captions.storage.places import Place

SPLITS = ("train", "val")
_RANGE = 1 << 32
_WORD = (1 << 64) - 1
# Odd, so that multiplication is invertible: 2^64 over the golden ratio, and the multiplier of Pelle Evensen's rrmxmx.
_FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
_NUMBERS = 10**9  # an id's number has nine digits at most


def split_hash(image_id: str) -> int:
    """Return the hash of an image id, a number below 2^32; ids with a hash below fraction · 2^32 are `val`.

    >>> split_hash("n01440764_10026")
    2029262338
    """
    mixed = (int(image_id[1:9]) * _NUMBERS + int(image_id[10:])) * _FIRST & _WORD
    return ((mixed ^ mixed >> 32) * _SECOND & _WORD) >> 32


def split_condition(split: str, fraction: float) -> pc.Expression:
    """Return the condition for a split, which computes `split_hash` of the column image_id.

    It uses only unsigned 64-bit arithmetic with wrap-around, which every Arrow version computes alike.
    """
    if split not in SPLITS:
        raise InputError(f"the split must be train or val, not {quoted(split)}")
    require_kind("fraction", fraction, (int, float), "a share such as 0.1")
    if not 0 < fraction < 1:
        raise InputError(f"the validation share must be between 0 and 1, such as 0.1, not {fraction}")
    image_id = pc.field("image_id")
    wnid = pc.utf8_slice_codeunits(image_id, 1, 9).cast(pa.uint64())
    number = pc.utf8_slice_codeunits(image_id, 10).cast(pa.uint64())
    mixed = pc.multiply(pc.add(pc.multiply(wnid, _word(_NUMBERS)), number), _word(_FIRST))
    mixed = pc.multiply(pc.bit_wise_xor(mixed, pc.shift_right(mixed, _word(32))), _word(_SECOND))
    is_val = pc.shift_right(mixed, _word(32)) < _word(round(fraction * _RANGE))
    return is_val if split == "val" else ~is_val


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
    keys = np.frombuffer(b"".join(sampling_key(image_id, seed) for image_id in ids), ">u8").reshape(-1, 2)
    return np.lexsort((keys[:, 1], keys[:, 0]))


def sampling_chance(image_id: str, seed: int) -> float:
    """Return a number of at least 0 and below 1; a weighted sample keeps a row if its probability is above it.

    It is the second half of the key. The first half sorts, so that a sample of a weighted sample is a fair one.

    >>> round(sampling_chance("n01440764_10026", 0), 6)
    0.722099
    """
    return (int.from_bytes(sampling_key(image_id, seed)[8:], "big") >> 11) / (1 << 53)


def _word(value: int) -> pc.Expression:
    return pc.scalar(pa.scalar(value, pa.uint64()))


_WNID_LENGTH = 9
_COUNT_COLUMNS = ("count", "images", "rows")


@dataclass(frozen=True)
class TailTrim:
    """A limit of `rows` rows for each of the `classes` classes with the fewest rows; the lower wnid wins a tie."""

    classes: int
    rows: int

    @classmethod
    def parse(cls, text: str) -> TailTrim:
        """Parse "K:N".

        >>> TailTrim.parse("100:1")
        TailTrim(classes=100, rows=1)
        """
        parts = text.split(":")
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            raise InputError(f"`trim_tail` must be classes and rows, such as 100:1, not {quoted(text)}")
        return cls(int(parts[0]), int(parts[1]))


@dataclass(frozen=True)
class Sampling:
    """The steps of sampling, in the order in which they are applied; None skips a step."""

    trim_tail: TailTrim | None = None
    like: Mapping[str, int] | None = None  # wnid → number of rows; none for a class that is not in it
    per_class: int | None = None
    sample: int | float | None = None  # a number of rows, or a share of them
    seed: int = 0

    @property
    def samples(self) -> bool:
        """Return whether any step is asked for."""
        return any(part is not None for part in (self.trim_tail, self.like, self.per_class, self.sample))

    def __post_init__(self) -> None:
        if self.per_class is not None and self.per_class < 1:
            raise InputError(f"`per_class` must be at least 1, not {self.per_class}")
        if isinstance(self.sample, int) and self.sample < 1:
            raise InputError(f"`sample` must be at least 1 row, or a share such as 0.1, not {self.sample}")
        if isinstance(self.sample, float) and not 0 < self.sample <= 1:
            raise InputError(f"`sample` must be a share above 0 and at most 1.0, not {self.sample}")


def parse_sample(text: str) -> int | float:
    """Parse a number of rows, or a share with a decimal point.

    >>> parse_sample("1000"), parse_sample("0.1"), parse_sample("1.0")
    (1000, 0.1, 1.0)
    """
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise InputError(
            f"`sample` must be a number of rows such as 1000, or a share such as 0.1, not {quoted(text)}"
        ) from None


def choose(ids: Sequence[str], sampling: Sampling) -> dict[str, str]:
    """Return the ids that are left out, each with the step that did so.

    >>> choose(["n01440764_1", "n01440764_2", "n01443537_1"], Sampling(per_class=1))
    {'n01440764_2': 'per-class'}
    """
    ordered = sorted(ids, key=lambda image_id: (sampling_key(image_id, sampling.seed), image_id))
    out: dict[str, str] = {}
    for step, limits in (
        ("trim-tail", _tail_limits),
        ("like", _like_limits),
        ("per-class", _class_limits),
    ):
        wanted = limits(Counter(map(wnid_of, ordered)), sampling)
        if wanted is not None:
            ordered = _first_of_each(ordered, wanted, step, out)
    if sampling.sample is not None:
        share = isinstance(sampling.sample, float)
        count = round(sampling.sample * len(ordered)) if share else int(sampling.sample)
        out.update(dict.fromkeys(ordered[count:], "sample"))
    return out


def wnids_of(ids: pa.Array) -> pa.Array:
    """Return the wnids in a column of image ids."""
    return pc.utf8_slice_codeunits(ids, 0, _WNID_LENGTH)


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


def _tail_limits(counts: Counter[str], sampling: Sampling) -> dict[str, int] | None:
    if sampling.trim_tail is None:
        return None
    rarest = sorted(counts, key=lambda wnid: (counts[wnid], wnid))[: sampling.trim_tail.classes]
    return {**counts, **dict.fromkeys(rarest, sampling.trim_tail.rows)}


def _like_limits(counts: Counter[str], sampling: Sampling) -> dict[str, int] | None:
    return None if sampling.like is None else {wnid: sampling.like.get(wnid, 0) for wnid in counts}


def _class_limits(counts: Counter[str], sampling: Sampling) -> dict[str, int] | None:
    return None if sampling.per_class is None else dict.fromkeys(counts, sampling.per_class)


def _first_of_each(ordered: list[str], limits: Mapping[str, int], step: str, out: dict[str, str]) -> list[str]:
    taken: Counter[str] = Counter()
    kept = []
    for image_id in ordered:
        wnid = wnid_of(image_id)
        taken[wnid] += 1
        if taken[wnid] <= limits[wnid]:
            kept.append(image_id)
        else:
            out[image_id] = step
    return kept


def short_of(ids: Sequence[str], like: Mapping[str, int]) -> int:
    """Return the number of classes that have fewer rows than a table of counts asks for."""
    counts = Counter(map(wnid_of, ids))
    return sum(counts[wnid] < wanted for wnid, wanted in like.items())


def read_counts(path: Place, among: ClassSet = ClassSet.ILSVRC2012) -> dict[str, int]:
    """Read a tab-separated table of the number of rows per class.

    A table with a header has the columns `wnid` and `count` (or `images`, or `rows`). Without a header, the first
    column is a class, given by wnid or by a name of this class only, and the second one its count.
    """
    try:
        lines = require_file(path, "the table of counts").read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is not a text file; give a tab-separated table with the columns wnid and count"
        ) from None
    rows = [line.split("\t") for line in lines if line.strip()]
    columns = (0, 1)
    if rows and "wnid" in rows[0]:
        counted = [rows[0].index(name) for name in _COUNT_COLUMNS if name in rows[0]]
        if not counted:
            raise InputError(f"{path} has no column `count`; give the column of the counts this name")
        columns = (rows[0].index("wnid"), counted[0])
        rows = rows[1:]
    wanted: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        wnid, count = _counted(row, columns, among, f"{path}, row {number}")
        if wnid in wanted:
            raise InputError(f"{path}, row {number}: {wnid} is there twice; give each class one count")
        wanted[wnid] = count
    if not wanted:
        raise InputError(f"{path} has no counts; give a tab-separated table with the columns wnid and count")
    return wanted


def _counted(row: Sequence[str], columns: tuple[int, int], among: ClassSet, where: str) -> tuple[str, int]:
    name, count = (row[at].strip() if at < len(row) else "" for at in columns)
    try:
        found = (name,) if classes.is_class(name, among) else classes.resolve(name, among)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if len(found) != 1:
        raise InputError(f"{where}: {quoted(name)} stands for {len(found)} classes; give the wnid of one")
    if not (count.isascii() and count.isdigit() and len(count) < 10):
        raise InputError(f"{where}: {quoted(count)} is not a count; give a whole number")
    return found[0], int(count)
