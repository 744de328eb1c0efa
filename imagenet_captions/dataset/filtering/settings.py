"""The settings of a filter: conditions on rows, and the sampling of the rows that meet them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

from imagenet_captions.dataset import filters
from imagenet_captions.dataset.filtering.balance import MENTIONS, Balance
from imagenet_captions.dataset.filtering.scores import ScoreLimits
from imagenet_captions.dataset.sampling import Sampling, TailTrim, parse_sample, read_counts
from imagenet_captions.dataset.splits import check_shuffle
from imagenet_captions.errors import InputError, quoted, require_kind, require_texts
from imagenet_captions.flickr.denylist import read_denylist
from imagenet_captions.imagenet.class_lists import list_names
from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.storage.files import require_file, sha256
from imagenet_captions.storage.places import Place, PlaceField, place

if TYPE_CHECKING:
    from pyarrow.compute import Expression


_LISTS = {
    "classes": "dog",
    "lists": "imagenet-100",
    "contains": "title=dog",
    "matches": "title=^IMG",
    "has": "title",
    "languages": "en",
    "licenses": "by",
}
_WHOLE, _NUMBER, _SWITCH = (int, "a whole number"), ((int, float), "a number"), (bool, "True or False")
_KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("per_class", "seed", "random_classes", "balance", "shards"), _WHOLE),
    **dict.fromkeys(("score_above", "score_top"), _NUMBER),
    **dict.fromkeys(("local_labels", "without_images"), _SWITCH),
    "sample": ((str, int, float), "a number of rows such as 1000, or a share such as 0.1"),
    "trim_tail": (str, "classes and rows, such as 100:1"),
}


@dataclass(frozen=True)
class RowConditions:
    """The conditions that a row must meet to be kept.

    Of several classes and lists, languages or licenses a row must match one. Everything else must hold together.
    """

    classes: Sequence[str] = ()
    lists: Sequence[str] = ()
    contains: Sequence[str] = ()  # FIELD=TEXT
    matches: Sequence[str] = ()  # FIELD=REGEX
    has: Sequence[str] = ()
    languages: Sequence[str] = ()
    licenses: Sequence[str] = ()
    names_class: bool = False
    split: str | None = None
    val_fraction: float = 0.1

    def __post_init__(self) -> None:
        for name, example in _LISTS.items():
            require_texts(name, getattr(self, name), example)

    def condition(self, among: ClassSet = ClassSet.ILSVRC2012) -> Expression | None:
        """Return one condition for a dataset with these classes; None if nothing is asked for."""
        parts: list[Expression] = []
        if self.classes or self.lists:
            some = [filters.in_list(name) for name in self.lists]
            some += [filters.in_class(*self.classes, among=among)] if self.classes else []
            parts.append(reduce(lambda left, right: left | right, some))
        parts += [filters.contains(*_pair(text, "`contains`", "title=dog")) for text in self.contains]
        parts += [filters.matches(*_pair(text, "`matches`", "title=^IMG")) for text in self.matches]
        parts += [filters.has(name) for name in self.has]
        for function, values in ((filters.language, self.languages), (filters.license_in, self.licenses)):
            parts += [function(*values)] if values else []
        parts += [filters.names_class()] if self.names_class else []
        parts += [filters.in_split(self.split, self.val_fraction)] if self.split is not None else []
        return reduce(and_, parts) if parts else None


@dataclass(frozen=True)
class FilterSettings:
    """The settings of a filter: the condition, a file of ids, a denylist, and the sampling of the remaining rows.

    `scores` is a file that `score` wrote; rows are kept with a similarity above `score_above`, and of all that are left
    the share `score_top` with the highest.
    """

    wanted: RowConditions = field(default_factory=RowConditions)
    ids: PlaceField = PlaceField()
    trim_tail: str | None = None  # K:N
    like: PlaceField = PlaceField()
    per_class: int | None = None
    sample: str | int | float | None = None  # a number of rows, or a share with a decimal point
    seed: int = 0
    deny: PlaceField = PlaceField()
    local_labels: bool = False
    # Beside `wanted`: what `in_class`, `has` and the like return, joined by `&`, `|` and `~`.
    condition: Expression | None = field(default=None, compare=False)
    scores: PlaceField = PlaceField()
    score_above: float | None = None
    score_top: float | None = None
    without_images: bool = False
    random_classes: int | None = None
    balance: int | None = None  # matches per entry that balanced sampling keeps
    by: str = MENTIONS  # the entries of balanced sampling, or "class"
    shuffle: int | None = None  # the seed of the order in which the rows are written
    shards: int | None = None  # over which shuffled rows are spread

    def __post_init__(self) -> None:
        require_kind("wanted", self.wanted, RowConditions, "RowConditions")
        for name, (kind, what) in _KINDS.items():
            if (value := getattr(self, name)) is not None:
                require_kind(name, value, kind, what)
        if self.condition is not None:
            filters.require_condition(self.condition)
        if self.score_limits is None and (self.score_above, self.score_top) != (None, None):
            raise InputError("`score_above` and `score_top` choose rows by a file of scores; give `scores`")
        if self.balance is None and self.by != MENTIONS:
            raise InputError("`by` has no effect without `balance`; leave it out")
        self.balancing()
        check_shuffle(self.shuffle)
        if self.shards is not None and self.shuffle is None:
            raise InputError("`shards` has no effect without the seed `shuffle`; leave it out")
        if self.shards is not None and self.shards < 1:
            raise InputError(f"`shards` must be at least 1, not {self.shards}")

    @property
    def score_limits(self) -> ScoreLimits | None:
        """The limits on similarities; None without a file of scores."""
        return None if self.scores is None else ScoreLimits(self.scores, self.score_above, self.score_top)

    def balancing(self) -> Balance | None:
        """Return the balanced sampling, if it is asked for."""
        return None if self.balance is None else Balance(self.balance, self.by)

    def row_condition(self, among: ClassSet = ClassSet.ILSVRC2012) -> Expression | None:
        """Return `wanted` and `condition` as one, for a dataset with these classes; None if nothing is asked for."""
        parts = [part for part in (self.wanted.condition(among), self.condition) if part is not None]
        return reduce(and_, parts) if parts else None

    def sampling(self, among: ClassSet = ClassSet.ILSVRC2012) -> Sampling:
        """Return the sampling for a dataset with these classes; the files are read."""
        return Sampling(
            trim_tail=None if self.trim_tail is None else TailTrim.parse(self.trim_tail),
            like=None if self.like is None else read_counts(self.like, among),
            per_class=self.per_class,
            sample=parse_sample(self.sample) if isinstance(self.sample, str) else self.sample,
            seed=self.seed,
        )

    def files(self) -> list[Place]:
        """Return the files that the filter reads."""
        lists = [place(name) for name in self.wanted.lists if name not in list_names()]
        return [path for path in (*lists, self.ids, self.like, self.deny, self.scores) if path is not None]

    def as_given(self) -> dict[str, Any]:
        """Return the given settings for the record; a file is named by its SHA-256, because its path says nothing."""
        given: dict[str, Any] = {
            "class": list(self.wanted.classes),
            "class-list": [name if name in list_names() else _digest(place(name)) for name in self.wanted.lists],
            "contains": list(self.wanted.contains),
            "matches": list(self.wanted.matches),
            "has": list(self.wanted.has),
            "language": list(self.wanted.languages),
            "license": list(self.wanted.licenses),
            "names-class": self.wanted.names_class,
            "condition": None if self.condition is None else str(self.condition),
            "split": self.wanted.split,
            "val-fraction": self.wanted.val_fraction if self.wanted.split else None,
            **read_denylist(self.deny).settings(),
            "ids": None if self.ids is None else _digest(self.ids),
            "random-classes": self.random_classes,
            "balance": self.balance,
            "by": None if self.balance is None else self.by,
            "trim-tail": self.trim_tail,
            "like": None if self.like is None else _digest(self.like),
            "per-class": self.per_class,
            "sample": None if self.sample is None else str(self.sample),
            "shuffle": self.shuffle,
            "shards": self.shards,
            "local-labels": self.local_labels,
            "without-images": self.without_images,
        }
        found = {name: value for name, value in given.items() if value is not False and value not in ([], None)}
        if self.score_limits is not None:
            found |= self.score_limits.as_given()
        sampled = {"random-classes", "balance", "trim-tail", "like", "per-class", "sample"} & found.keys()
        return {**found, "seed": self.seed} if sampled else found


def read_ids(path: Place) -> frozenset[str]:
    """Read a text file with one image id per line, in any form that `image_ids.image_id` knows."""
    try:
        lines = require_file(path, "the file of ids").read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; give one with an image id per line") from None
    found = set()
    for number, line in enumerate(lines, 1):
        if line.strip():
            canonical = image_id(line.strip())
            if canonical is None:
                raise InputError(
                    f"{path}, line {number}: {quoted(line)} is not an image id; give one such as n01440764_10026"
                )
            found.add(canonical)
    if not found:
        raise InputError(f"{path} holds no image id; give one a line")
    return frozenset(found)


def _pair(text: str, flag: str, example: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"{flag} must be FIELD=TEXT, such as {example}, not {quoted(text)}")
    return name, value


def _digest(path: Place) -> str:
    return "sha256:" + sha256(require_file(path, "the file"))
