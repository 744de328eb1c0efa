"""The settings of a filter: conditions on rows, and the sampling of the rows that meet them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.flickr.denylist import DENY, NOTHING_DENIED, Denylist
from imagenet_captions.imagenet.classes import ClassSet, list_names
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.options import check, nested, option, record
from imagenet_captions.storage.files import require_file, sha256
from imagenet_captions.storage.places import Place, PlaceField, place

if TYPE_CHECKING:
    from pyarrow.compute import Expression

    from imagenet_captions.dataset.sampling import Sampling
    from imagenet_captions.dataset.selecting import Balance, ScoreLimits


_FIELD = "(title, description, tags or caption)"


@dataclass(frozen=True)
class RowConditions:
    """The conditions that a row must meet to be kept.

    Of several classes and lists, languages or licenses a row must match one. Everything else must hold together.
    """

    classes: Sequence[str] = option(
        "A wnid, index, name or ancestor such as dog; any of those given.", (), flag="--class", what="dog"
    )
    lists: Sequence[str] = option(
        "A list of classes: imagenet-a, imagenet-o, imagenet-r, objectnet, imagenette, imagewoof, "
        "imagenet-100-captionnet, imagenet-100-clip-beyond-tail, imagenet-100-cmc, or a file with a class a line.",
        (),
        flag="--class-list",
        metavar="NAME|FILE",
        what="imagenet-100",
    )
    contains: Sequence[str] = option(
        f"The text is in the field {_FIELD}, in any case; all of those given.",
        (),
        metavar="FIELD=TEXT",
        what="title=dog",
    )
    matches: Sequence[str] = option(
        f"The regular expression is found in the field {_FIELD}.", (), metavar="FIELD=REGEX", what="title=^IMG"
    )
    has: Sequence[str] = option(
        "The field holds something: title, description, tags, caption, language, photo_id, owner, owner_name, "
        "license, date_taken, date_posted, photo_page, source, retrieved_at or image.",
        (),
        metavar="FIELD",
        what="title",
    )
    languages: Sequence[str] = option(
        "A language code such as en; any of those given.", (), flag="--language", what="en"
    )
    licenses: Sequence[str] = option(
        "Flickr's number or a name such as by; any of those given.", (), flag="--license", what="by"
    )
    names_class: bool = option("The texts name the row's own class.", False)
    split: str | None = option("train or val, by a hash of the id.", choices=("train", "val"))
    val_fraction: float = option("The share of all rows that is val.", 0.1)

    def __post_init__(self) -> None:
        check(self)

    def condition(self, among: ClassSet = ClassSet.ILSVRC2012) -> Expression | None:
        """Return one condition for a dataset with these classes; None if nothing is asked for."""
        from imagenet_captions.dataset import filters

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

    wanted: RowConditions = nested(RowConditions)
    # Beside `wanted`: what `in_class`, `has` and the like return, joined by `&`, `|` and `~`.
    condition: Expression | None = field(default=None, compare=False)
    deny: Denylist = option(DENY, NOTHING_DENIED, metavar="PATH")
    ids: PlaceField = option("Only the image ids in this file, such as one that --out-ids wrote.")
    random_classes: int | None = option("K of the classes left, by the seed.", metavar="K")
    balance: int | None = option(
        "MetaCLIP's balanced sampling: keep a row with probability 1 - prod(1 - min(1, T / count)) over its entries.",
        metavar="T",
    )
    by: str = option(
        "The entries of --balance: the classes that a row's texts mention, or its own class.",
        "mentions",
        choices=("mentions", "class"),
        needs="balance",
    )
    trim_tail: str | None = option(
        "At most N rows for each of the K rarest classes.", metavar="K:N", what="classes and rows, such as 100:1"
    )
    like: PlaceField = option("Rows a class: a table with columns wnid and count, as `stats --counts` writes it.")
    per_class: int | None = option("At most this many rows a class.")
    sample: str | int | float | None = option(
        "Number of rows in all, or a share such as 0.1.",
        metavar="N|FRACTION",
        what="a number of rows such as 1000, or a share such as 0.1",
    )
    shuffle: int | None = option("Write the rows in the order of this seed, for training.", metavar="SEED", least=0)
    shards: int | None = option(
        "Shards of shuffled rows, many even for a small copy, so that workers share them. Default: 16, or more of "
        "500 MB each.",
        least=1,
        needs="shuffle",
    )
    local_labels: bool = option("Count labels over the classes left; the old ones stay beside them.", False)
    without_images: bool = option("Leave the images out, for a dataset of texts that may be shared.", False)
    scores: PlaceField = option("Similarities that `score` wrote.", metavar="FILE")
    score_above: float | None = option(
        "Only rows with a higher similarity in --scores; the cosine, from -1 to 1.", needs="scores"
    )
    score_top: float | None = option(
        "Of the rows that are left, this share with the highest similarities.", metavar="SHARE", needs="scores"
    )
    seed: int = option("Seed of the samples; another one takes other rows.", 0)

    def __post_init__(self) -> None:
        check(self)
        if self.condition is not None:
            from imagenet_captions.dataset.filters import require_condition

            require_condition(self.condition)
        if (self.balance, self.scores) != (None, None):  # their own checks, before anything is read
            _ = self.balancing(), self.score_limits

    @property
    def score_limits(self) -> ScoreLimits | None:
        """The limits on similarities; None without a file of scores."""
        from imagenet_captions.dataset.selecting import ScoreLimits

        return None if self.scores is None else ScoreLimits(self.scores, self.score_above, self.score_top)

    def balancing(self) -> Balance | None:
        """Return the balanced sampling, if it is asked for."""
        from imagenet_captions.dataset.selecting import Balance

        return None if self.balance is None else Balance(self.balance, self.by)

    def row_condition(self, among: ClassSet = ClassSet.ILSVRC2012) -> Expression | None:
        """Return `wanted` and `condition` as one, for a dataset with these classes; None if nothing is asked for."""
        parts = [part for part in (self.wanted.condition(among), self.condition) if part is not None]
        return reduce(and_, parts) if parts else None

    def sampling(self, among: ClassSet = ClassSet.ILSVRC2012) -> Sampling:
        """Return the sampling for a dataset with these classes; the files are read."""
        from imagenet_captions.dataset.sampling import Sampling, TailTrim, parse_sample, read_counts

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
        return [path for path in (*lists, self.ids, self.like, self.deny.file, self.scores) if path is not None]

    def as_given(self) -> dict[str, Any]:
        """Return the given settings for the record; a file is named by its SHA-256, because its path says nothing."""
        lists = [name if name in list_names() else _digest(place(name)) for name in self.wanted.lists]
        others: dict[str, dict[str, Any]] = {
            "split": {"val-fraction": self.wanted.val_fraction},
            "balance": {"by": self.by},
        }
        found: dict[str, Any] = {} if self.condition is None else {"condition": str(self.condition)}
        for name, value in record(self).items():
            if name in ("ids", "like"):
                found[name] = _digest(place(value))
            elif name in ("class-list", "sample"):
                found[name] = lists if name == "class-list" else str(value)
            elif name == "deny":
                found |= self.deny.settings()
            elif name not in ("seed", "scores", "score-above", "score-top", "by", "val-fraction"):
                found |= {name: value, **others.get(name, {})}
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
