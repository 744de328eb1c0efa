"""Measure a dataset: one pass over its row groups, counted per class and in all."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.outcomes import read_outcome_counts
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.sources import ImageIndex
from imagenet_captions.outcomes import Outcome
from imagenet_captions.schema import CAPTIONS
from imagenet_captions.storage.parquet import ParquetFile
from imagenet_captions.storage.places import Place, PlaceLike, place
from imagenet_captions.storage.progress import Bar, progress

TEXT_FIELDS = ("title", "description", "tags", "caption")
_EITHER = (("title", "tags"), ("title", "description"), ("tags", "description"))
_COUNTED = ("language", "license", "source")
_TAG = r"<[A-Za-z/!][^<>]*>"
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,8}|#[xX][0-9A-Fa-f]{1,8});"
_ADDRESS = r"(?i)https?://|www\."
_SHOWN_DUPLICATES, _LONGEST_SHOWN = 10, 120
_WNID_LENGTH = 9


@dataclass(frozen=True)
class Distribution:
    """The number of occurrences of each whole number.

    >>> words = Distribution({1: 3, 2: 1, 7: 1})
    >>> words.total, words.mean, words.quantile(0.5), words.largest
    (5, 2.4, 1.0, 7)
    """

    counts: Mapping[int, int]

    @cached_property
    def total(self) -> int:
        """Return how many numbers there are."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Return the mean; 0 if there are no numbers."""
        return sum(value * count for value, count in self.counts.items()) / self.total if self.total else 0.0

    @property
    def largest(self) -> int:
        """Return the largest number; 0 if there are none."""
        return max(self.counts, default=0)

    def quantile(self, share: float) -> float:
        """Return a quantile, interpolated as in `numpy.quantile`; 0 if there are no numbers."""
        if not self.total:
            return 0.0
        values = sorted(self.counts)
        ends = list(accumulate(self.counts[value] for value in values))
        place = share * (self.total - 1)
        below = int(place)
        low, high = (values[bisect_right(ends, at)] for at in (below, min(below + 1, self.total - 1)))
        return low + (high - low) * (place - below)

    def bins(self) -> tuple[LengthBin, ...]:
        """Return the bins 0, 1, 2 to 3, 4 to 7 and so on, from the first to the last that is not empty.

        >>> [(bin.label, bin.count) for bin in Distribution({1: 3, 2: 1, 7: 1}).bins()]
        [('1', 3), ('2 to 3', 1), ('4 to 7', 1)]
        """
        binned: Counter[int] = Counter()
        for value, count in self.counts.items():
            binned[value.bit_length()] += count
        bits = range(min(binned, default=1), max(binned, default=0) + 1)
        return tuple(LengthBin((1 << each) >> 1, (1 << each) - 1, binned[each]) for each in bits)


@dataclass(frozen=True)
class LengthBin:
    """A range of numbers, both bounds included, and how many there are."""

    first: int
    last: int
    count: int

    @property
    def label(self) -> str:
        """Return the bounds as text, such as "4 to 7"."""
        return f"{self.first:,}" if self.first == self.last else f"{self.first:,} to {self.last:,}"


@dataclass(frozen=True)
class ClassStats:
    """The counts of one class. They are numbers of rows, unless a comment says otherwise."""

    wnid: str
    label: int
    name: str
    rows: int = 0
    title: int = 0  # rows in which the field is not empty
    description: int = 0
    tags: int = 0
    caption: int = 0
    names_class: int = 0
    images: int | None = None  # rows with an image; None without images
    on_disk: int | None = None  # given images of the class, with or without a row
    all_tags: int = 0  # tags, repeated ones included
    unique_tags: int = 0  # without regard to case


@dataclass(frozen=True)
class Markup:
    """Rows in which a field still has something that looks like markup or an address."""

    field: str
    html: int  # tags such as <b>
    entities: int  # &amp; and the like
    addresses: int  # http://, https://, www.


@dataclass(frozen=True)
class Duplicates:
    """Captions that several rows have in common, letter by letter."""

    texts: int  # different captions that occur more than once
    rows: int  # rows that have one of them
    most: tuple[tuple[str, int], ...]  # the most frequent ones, shortened, with their counts


@dataclass(frozen=True)
class Stats:
    """The statistics of a dataset. `measure` computes them from the rows, and `collect` adds the outcomes."""

    classes: tuple[ClassStats, ...]  # all classes of the dataset's set, in the order of their labels
    filled: Mapping[str, int]  # "title", or "title or tags" → rows with at least one of them
    languages: Mapping[str | None, int]  # most frequent first, as the next two
    licenses: Mapping[int | None, int]
    sources: Mapping[str, int]
    words: Distribution  # of captions
    characters: Distribution
    markup: tuple[Markup, ...]
    duplicates: Duplicates
    unique_tags: int
    funnel: Mapping[Outcome, int] | None = None

    def __str__(self) -> str:
        """Return the tables that the command `stats` prints."""
        from imagenet_captions.statistics.report import as_text, sections

        return as_text(sections(self))

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(entry.rows for entry in self.classes)

    @property
    def per_class(self) -> Distribution:
        """Return the distribution of rows per class, empty classes included."""
        return Distribution(Counter(entry.rows for entry in self.classes))

    @property
    def rarest_first(self) -> tuple[ClassStats, ...]:
        """Return the classes that have rows, the rarest first; of equal ones the lower label first."""
        return tuple(sorted((entry for entry in self.classes if entry.rows), key=lambda entry: entry.rows))

    @property
    def all_tags(self) -> int:
        """Return the number of tags in all rows, repeated ones included."""
        return sum(entry.all_tags for entry in self.classes)

    @property
    def names_class(self) -> int:
        """Return the number of rows whose texts name their class."""
        return sum(entry.names_class for entry in self.classes)

    @property
    def images(self) -> int | None:
        """Return the number of rows that have an image; None without images."""
        return _sum(entry.images for entry in self.classes)

    @property
    def on_disk(self) -> int | None:
        """Return the number of given images, with or without a row; None if none were given."""
        return _sum(entry.on_disk for entry in self.classes)


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def stats(dataset: PlaceLike, images: PlaceLike | None = None) -> Stats:
    """Measure a dataset; `print` shows the result as tables.

        measured = ic.stats("imagenet-captions")
        measured.rows, measured.filled["title"], measured.languages["en"]

    `images` is ImageNet in any form that `package` takes; its images with and without a caption are counted too.
    Raises InputError for a folder that is not a dataset of ours.
    """
    return collect(place(dataset), None if images is None else ImageIndex(place(images)))


def collect(dataset: Place, images: ImageIndex | None = None) -> Stats:
    """Measure a dataset, and with `images` count the rows that have an image there."""
    columns = ["wnid", *TEXT_FIELDS, "names_class", *_COUNTED]
    columns += ["image_id", "photo_id"] if images else ["image.path"]
    keys = None if images is None else images.keys
    with Shards(dataset).unchanged() as shards:
        files = shards.files()
        with progress("stats", shards.rows, "rows") as bar:
            measured = measure(read_tables(files, columns, bar), keys, shards.manifest.classes)
        return dataclasses.replace(measured, funnel=read_outcome_counts(shards.outcomes))


def read_tables(files: Sequence[Place], columns: Sequence[str], bar: Bar | None = None) -> Iterator[pa.Table]:
    """Yield the row groups of all files, with those of the columns that a file has."""
    for file in files:
        with ParquetFile(file) as opened:
            known = {opened.schema.column(at).path.removesuffix(".list.element") for at in range(len(opened.schema))}
            here = [name for name in columns if name in known]
            for group in range(opened.num_row_groups):
                table = opened.read_row_group(group, columns=here)
                yield table
                if bar is not None:
                    bar.update(len(table))


def measure(
    tables: Iterable[pa.Table], on_disk: pa.StringArray | None = None, among: ClassSet = ClassSet.ILSVRC2012
) -> Stats:
    """Measure tables of a dataset's rows; only numbers and hashes are held, never the texts.

    `on_disk` holds the names of images outside the dataset, image ids or Flickr photo ids. Tables may be cut anywhere
    and come in any order.
    """
    facts = []
    tags: dict[str, list[npt.NDArray[np.int64]]] = {}  # wnid → hashes
    markup: Counter[tuple[str, str]] = Counter()
    captions: Counter[int] = Counter()  # by hash
    repeated: dict[int, str] = {}  # hash → caption
    for table in chain([CAPTIONS.empty_table()], tables):
        table = table.combine_chunks()
        facts.append(_facts(table, on_disk))
        _add_tags(table, tags)
        _add_markup(table, markup)
        for caption in table["caption"].to_pylist():
            hashed = hash(caption)
            captions[hashed] += 1
            if caption and captions[hashed] == 2:
                repeated[hashed] = caption[: _LONGEST_SHOWN + 1]
    rows = pa.concat_tables(facts, promote_options="default")
    summed = [name for name in rows.column_names if name not in ("wnid", "words", "characters", *_COUNTED)]
    found = rows.group_by("wnid").aggregate([([], "count_all"), *((name, "sum") for name in summed)])
    by_class = {entry.pop("wnid"): entry for entry in found.rename_columns(["wnid", "rows", *summed]).to_pylist()}
    unique = {wnid: np.unique(np.concatenate(parts)) for wnid, parts in tags.items()}
    ids = None if on_disk is None else on_disk.filter(pc.starts_with(on_disk, "n"))
    named = None if ids is None else _counts(pc.utf8_slice_codeunits(ids, 0, _WNID_LENGTH))

    def of_class(wnid: str) -> ClassStats:
        known = classes.by_wnid(wnid, among)
        counts = by_class.get(wnid) or dict.fromkeys(["rows", *summed], 0)
        by_photo = counts.pop("by_photo", 0)
        given = None if named is None else named.get(wnid, 0) + by_photo
        return ClassStats(wnid, known.index, known.name, on_disk=given, unique_tags=len(unique.get(wnid, ())), **counts)

    either = {f"{one} or {other}": pc.or_(rows[one], rows[other]) for one, other in _EITHER}
    masks = {name: rows[name] for name in TEXT_FIELDS} | either
    times = {hashed: captions[hashed] for hashed in repeated}
    most = sorted(times, key=lambda hashed: (-times[hashed], repeated[hashed]))[:_SHOWN_DUPLICATES]
    return Stats(
        classes=tuple(map(of_class, classes.wnids(among))),
        filled={name: pc.sum(mask).as_py() or 0 for name, mask in masks.items()},
        languages=_counts(rows["language"]),
        licenses=_counts(rows["license"]),
        sources=_counts(rows["source"]),
        words=Distribution(_counts(rows["words"])),
        characters=Distribution(_counts(rows["characters"])),
        markup=tuple(
            Markup(name, *(markup[name, kind] for kind in ("html", "entities", "addresses"))) for name in TEXT_FIELDS
        ),
        duplicates=Duplicates(
            len(times), sum(times.values()), tuple((_shortened(repeated[hashed]), times[hashed]) for hashed in most)
        ),
        unique_tags=len(np.unique(np.concatenate([*unique.values(), np.empty(0, np.int64)]))),
    )


def _facts(table: pa.Table, on_disk: pa.StringArray | None) -> pa.Table:
    """Return the numbers and masks of a table's rows that are counted, in all or per class."""
    captions, number_of_tags = table["caption"], pc.list_value_length(table["tags"])
    filled = {name: pc.not_equal(table[name], "") for name in ("title", "description", "caption")}
    facts = {name: table[name] for name in ("wnid", "names_class", *_COUNTED)} | filled
    facts |= {"tags": pc.greater(number_of_tags, 0), "all_tags": number_of_tags}
    # Cleaning leaves one blank between words.
    facts["words"] = pc.add(pc.count_substring(captions, " "), filled["caption"].cast(pa.int32()))
    facts["characters"] = pc.utf8_length(captions)
    if on_disk is not None:
        facts["by_photo"] = pc.is_in(table["photo_id"], on_disk)
        facts["images"] = pc.or_(pc.is_in(table["image_id"], on_disk), facts["by_photo"])
    elif "image" in table.column_names:
        facts["images"] = pc.is_valid(table["image"])
    return pa.table(facts)


def _add_tags(table: pa.Table, hashes: dict[str, list[npt.NDArray[np.int64]]]) -> None:
    of_row = pc.take(table["wnid"], pc.list_parent_indices(table["tags"]))
    pairs = pa.table({"wnid": of_row, "tag": pc.utf8_lower(pc.list_flatten(table["tags"]))})
    different = pairs.group_by(["wnid", "tag"]).aggregate([]).group_by("wnid").aggregate([("tag", "list")])
    for found in different.to_pylist():
        hashes.setdefault(found["wnid"], []).append(np.array([hash(tag) for tag in found["tag_list"]], np.int64))


def _add_markup(table: pa.Table, counts: Counter[tuple[str, str]]) -> None:
    for name in TEXT_FIELDS:
        texts = pc.binary_join(table[name], "\n") if name == "tags" else table[name]
        for kind, sign, pattern in (("html", "<", _TAG), ("entities", "&", _ENTITY), ("addresses", "", _ADDRESS)):
            # Few texts have the sign, and the pattern is slow.
            suspects = texts.filter(pc.match_substring(texts, sign)) if sign else texts
            counts[name, kind] += pc.sum(pc.match_substring_regex(suspects, pattern)).as_py() or 0


def _counts(values: pa.Array | pa.ChunkedArray) -> dict[Any, int]:
    """Return how often each value occurs, the most frequent first."""
    counts = [(found["values"], found["counts"]) for found in values.value_counts().to_pylist()]
    return dict(sorted(counts, key=lambda item: (-item[1], str(item[0]))))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"
