"""The settings of a filter (conditions on rows, and the sampling of those that meet them), and of a packaging."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, Any

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.flickr.denylist import DENY, NOTHING_DENIED, Denylist
from imagenet_captions.imagenet.classes import ClassSet, list_names
from imagenet_captions.options import check, nested, option, record
from imagenet_captions.storage.files import require_file, sha256
from imagenet_captions.storage.places import Place, PlaceField, PlaceLike, place

if TYPE_CHECKING:
    from pyarrow.compute import Expression


_FIELD = "(title, description, tags or caption)"
_SAMPLE = "a number of rows such as 1000, or a share such as 0.1"


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
    val_fraction: float = option("The share of all rows that is val.", 0.1, needs="split")

    def __post_init__(self) -> None:
        check(self)

    def condition(self, among: ClassSet = ClassSet.ILSVRC2012) -> Expression | None:
        """Return one condition for a dataset with these classes; None if nothing is asked for."""
        from imagenet_captions.dataset import filters

        parts: list[Expression] = []
        chosen = [filters.in_list(name) for name in self.lists]
        if self.classes:
            chosen.append(filters.in_class(*self.classes, among=among))
        if chosen:
            parts.append(reduce(or_, chosen))
        for texts, name, example in ((self.contains, "contains", "title=dog"), (self.matches, "matches", "title=^IMG")):
            for text in texts:
                column, equals, value = text.partition("=")
                if not equals:
                    raise InputError(f"`{name}` must be FIELD=TEXT, such as {example}, not {quoted(text)}")
                parts.append(getattr(filters, name)(column, value))
        parts += map(filters.has, self.has)
        if self.languages:
            parts.append(filters.language(*self.languages))
        if self.licenses:
            parts.append(filters.license_in(*self.licenses))
        if self.names_class:
            parts.append(filters.names_class())
        if self.split is not None:
            parts.append(filters.in_split(self.split, self.val_fraction))
        return reduce(and_, parts) if parts else None


@dataclass(frozen=True)
class FilterSettings:
    """The settings of a filter: the condition, a file of ids, a denylist, and the sampling of the remaining rows.

    `scores` is a file that `score` wrote; rows are kept with a similarity above `score_above` and values below those of
    `score_below`, and of all that are left the share `score_top` with the highest similarities.
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
        least=1,
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
    per_class: int | None = option("At most this many rows a class.", least=1)
    sample: str | int | float | None = option(
        "Number of rows in all, or a share such as 0.1.",
        metavar="N|FRACTION",
        what=_SAMPLE,
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
    score_below: Sequence[str] = option(
        "Only rows with a lower value in a column of --scores, such as the highest similarity to a test set's images; "
        "all of those given.",
        (),
        metavar="COLUMN=VALUE",
        needs="scores",
        what="imagenet-v2=0.9",
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
        if self.trim_tail is not None:
            parse_trim(self.trim_tail)
        if self.sample is not None:
            parse_sample(self.sample)
        if self.scores is not None and self.score_above is None and self.score_top is None and not self.score_below:
            raise InputError("`scores` has no effect without a limit; give `score_above`, `score_below` or `score_top`")
        for text in self.score_below:
            parse_below(text)
        if self.score_above is not None and not -1 <= self.score_above <= 1:
            raise InputError(f"`score_above` must be a similarity from -1 to 1, not {self.score_above}")
        if self.score_top is not None and not 0 < self.score_top <= 1:
            raise InputError(f"`score_top` must be a share above 0 and at most 1, not {self.score_top}")

    def row_condition(self, among: ClassSet = ClassSet.ILSVRC2012) -> Expression | None:
        """Return `wanted` and `condition` as one, for a dataset with these classes; None if nothing is asked for."""
        parts = [part for part in (self.wanted.condition(among), self.condition) if part is not None]
        return reduce(and_, parts) if parts else None

    def files(self) -> list[Place]:
        """Return the files that the filter reads."""
        lists = [place(name) for name in self.wanted.lists if name not in list_names()]
        return [path for path in (*lists, self.ids, self.like, self.deny.file, self.scores) if path is not None]

    def as_given(self) -> dict[str, Any]:
        """Return the given settings for the record; a file is named by its SHA-256, because its path says nothing."""

        def digest(path: PlaceLike) -> str:
            return "sha256:" + sha256(require_file(place(path), "the file"))

        found: dict[str, Any] = {} if self.condition is None else {"condition": str(self.condition)}
        for name, value in record(self).items():  # the card shows them in this order
            if name == "deny":
                found |= self.deny.settings()
            elif name in ("ids", "like", "scores"):
                found[name] = digest(value)
            elif name == "class-list":
                found[name] = [each if each in list_names() else digest(each) for each in value]
            elif name not in ("seed", "by", "val-fraction"):
                found[name] = str(value) if name == "sample" else value
            if name == "split":
                found["val-fraction"] = self.wanted.val_fraction
            elif name == "balance":
                found["by"] = self.by
            elif name == "scores":
                from imagenet_captions.dataset.filtering import read_origin

                _, weights, model = read_origin(place(value))
                found |= {"score-model": model, "score-weights": f"sha256:{weights}"}
        sampled = {"random-classes", "balance", "trim-tail", "like", "per-class", "sample"} & found.keys()
        return {**found, "seed": self.seed} if sampled else found


def parse_below(text: str) -> tuple[str, float]:
    """Parse "COLUMN=VALUE".

    >>> parse_below("imagenet-v2=0.9")
    ('imagenet-v2', 0.9)
    """
    column, _, value = text.rpartition("=")
    with suppress(ValueError):
        if column:
            return column, float(value)
    raise InputError(f"`score_below` must be COLUMN=VALUE, such as imagenet-v2=0.9, not {quoted(text)}")


def parse_trim(text: str) -> tuple[int, int]:
    """Parse "K:N": a number of classes, and one of rows.

    >>> parse_trim("100:1")
    (100, 1)
    """
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise InputError(f"`trim_tail` must be classes and rows, such as 100:1, not {quoted(text)}")
    return int(parts[0]), int(parts[1])


def parse_sample(given: str | int | float) -> int | float:
    """Return a number of rows, or a share, which as a text has a decimal point.

    >>> parse_sample("1000"), parse_sample("0.1"), parse_sample("1.0")
    (1000, 0.1, 1.0)
    """
    try:
        found = given if not isinstance(given, str) else float(given) if "." in given else int(given)
    except ValueError:
        found = 0
    if not (0 < found <= 1 if isinstance(found, float) else found >= 1):
        raise InputError(f"`sample` must be {_SAMPLE}, not {quoted(given)}")
    return found


@dataclass(frozen=True)
class PackageSettings:
    """The source of images (None for a dataset without), and what to do with a row that has none."""

    images: PlaceField = option(
        "ImageNet as you have it: train folder, ILSVRC2012_img_train.tar, imagenet-1k Parquet, WebDataset tars, "
        "or files named by Flickr photo id. Without it the dataset has text only."
    )
    missing: str = option(
        "A row without its image: keep it and count it, skip it, or fail.",
        "report",
        choices=("report", "skip", "fail"),
    )

    def __post_init__(self) -> None:
        check(self)
