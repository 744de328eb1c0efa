"""Measure a dataset: one pass over its row groups, counted per class and in all."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.manifest import read_manifest, shard_files, unchanged
from imagenet_captions.dataset.outcomes import read_outcome_counts
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.sources import ImageIndex
from imagenet_captions.outcomes import OUTCOMES_FILE, Outcome
from imagenet_captions.storage.parquet import parquet_file
from imagenet_captions.storage.places import Place, PlaceLike, place
from imagenet_captions.storage.progress import Bar, progress


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
        place = share * (self.total - 1)
        low = self._at(int(place))
        return low + (self._at(min(int(place) + 1, self.total - 1)) - low) * (place - int(place))

    def bins(self) -> tuple[LengthBin, ...]:
        """Return the bins 0, 1, 2 to 3, 4 to 7 and so on, from the first to the last that is not empty.

        >>> [(bin.label, bin.count) for bin in Distribution({1: 3, 2: 1, 7: 1}).bins()]
        [('1', 3), ('2 to 3', 1), ('4 to 7', 1)]
        """
        binned: dict[int, int] = {}
        for value, count in self.counts.items():
            binned[value.bit_length()] = binned.get(value.bit_length(), 0) + count
        return tuple(
            LengthBin(bits, binned.get(bits, 0)) for bits in range(min(binned, default=1), max(binned, default=0) + 1)
        )

    def _at(self, place: int) -> int:
        before = 0
        for value in self._values:
            before += self.counts[value]
            if place < before:
                return value
        return self.largest

    @cached_property
    def _values(self) -> list[int]:
        return sorted(self.counts)


@dataclass(frozen=True)
class LengthBin:
    """The range of numbers with a given number of bits, and how many there are."""

    bits: int
    count: int

    @property
    def label(self) -> str:
        """Return the bounds as text, such as "4 to 7"."""
        low, high = (1 << self.bits) >> 1, (1 << self.bits) - 1
        return f"{low:,}" if low == high else f"{low:,} to {high:,}"


TEXT_FIELDS = ("title", "description", "tags", "caption")


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
    names_class: int | None = None  # None for a dataset without this column, made by an early version
    images: int | None = None  # rows with an image; None without images
    on_disk: int | None = None  # given images of the class, with or without a row
    all_tags: int = 0  # tags, repeated ones included
    unique_tags: int = 0  # without regard to case


@dataclass(frozen=True)
class Markup:
    """Rows in which a field still has something that looks like markup or an address."""

    field: str
    html: int  # <b>, </a>, <!--
    entities: int  # &amp; &#39;
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
    image_source: str | None = None  # "column" or "given"; None without images
    funnel: Mapping[Outcome, int] | None = None

    def __str__(self) -> str:
        """Return the tables that the command `stats` prints."""
        from imagenet_captions.statistics.sections import as_text, sections

        return as_text(sections(self))

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(entry.rows for entry in self.classes)

    @property
    def per_class(self) -> Distribution:
        """Return the distribution of rows per class, empty classes included."""
        counts: dict[int, int] = {}
        for entry in self.classes:
            counts[entry.rows] = counts.get(entry.rows, 0) + 1
        return Distribution(counts)

    @property
    def rarest_first(self) -> tuple[ClassStats, ...]:
        """Return the classes that have rows, the rarest first; of equal ones the lower label first."""
        return tuple(sorted((entry for entry in self.classes if entry.rows), key=lambda entry: entry.rows))

    @property
    def all_tags(self) -> int:
        """Return the number of tags in all rows, repeated ones included."""
        return sum(entry.all_tags for entry in self.classes)

    @property
    def names_class(self) -> int | None:
        """Return the number of rows whose texts name their class; None if the dataset does not say."""
        return _summed(entry.names_class for entry in self.classes)

    @property
    def images(self) -> int | None:
        """Return the number of rows that have an image; None without images."""
        return _summed(entry.images for entry in self.classes)

    @property
    def on_disk(self) -> int | None:
        """Return the number of given images, with or without a row; None if none were given."""
        return _summed(entry.on_disk for entry in self.classes)


def _summed(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


COLUMNS = ("wnid", *TEXT_FIELDS, "language", "license", "source")
_EITHER = (("title", "tags"), ("title", "description"), ("tags", "description"))
_TAG = r"<[A-Za-z/!][^<>]*>"
_ENTITY = r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,8}|#[xX][0-9A-Fa-f]{1,8});"
_ADDRESS = r"(?i)https?://|www\."
_SHOWN_DUPLICATES, _LONGEST_SHOWN = 10, 120
_WNID_LENGTH = 9


def measure(
    tables: Iterable[pa.Table], on_disk: pa.StringArray | None = None, among: ClassSet = ClassSet.ILSVRC2012
) -> Stats:
    """Measure tables that have `COLUMNS` and, where the dataset has them, `names_class` and `image`.

    `on_disk` holds the names of images outside the dataset, image ids or Flickr photo ids; the tables then need
    `image_id` and `photo_id` too. Tables may be cut anywhere and come in any order.
    """
    tally = _Tally(on_disk, among)
    for table in tables:
        tally.add(table)
    return tally.result()


class _Tally:
    def __init__(self, on_disk: pa.StringArray | None, among: ClassSet) -> None:
        self.among = among
        self.on_disk = on_disk
        self.image_source = None if on_disk is None else "given"
        self.per_class: dict[str, Counter[str]] = {}
        self.counted: set[str] = set()  # counts that are known, even if they are 0
        self.filled: Counter[str] = Counter()
        self.languages: Counter[Any] = Counter()
        self.licenses: Counter[Any] = Counter()
        self.sources: Counter[Any] = Counter()
        self.words: Counter[int] = Counter()
        self.characters: Counter[int] = Counter()
        self.markup: dict[str, Counter[str]] = {field: Counter() for field in TEXT_FIELDS}
        self.captions: Counter[int] = Counter()  # by hash
        self.repeated: dict[int, str] = {}  # hash → caption
        self.tags: dict[str, list[npt.NDArray[np.int64]]] = {}  # wnid → hashes

    def add(self, table: pa.Table) -> None:
        table = table.combine_chunks()
        facts = self._facts(table)
        self._add_filled(facts)
        self._add_per_class(table, facts)
        for name, counter in (("language", self.languages), ("license", self.licenses), ("source", self.sources)):
            _count(table[name], counter)
        self._add_captions(table["caption"])
        self._add_tags(table["wnid"], table["tags"])
        for field in TEXT_FIELDS:
            _count_markup(table[field], self.markup[field])

    def _facts(self, table: pa.Table) -> dict[str, Any]:
        """Return a mask of the rows for each thing that is counted per class."""
        facts = {field: pc.not_equal(table[field], "") for field in ("title", "description", "caption")}
        facts["tags"] = pc.greater(pc.list_value_length(table["tags"]), 0)
        if "names_class" in table.column_names:
            facts["names_class"] = pc.fill_null(table["names_class"], False)
        if self.on_disk is not None:
            by_id, by_photo = (pc.is_in(table[name], self.on_disk) for name in ("image_id", "photo_id"))
            facts["images"], facts["by_photo"] = pc.or_(by_id, by_photo), by_photo
        elif "image" in table.column_names:
            self.image_source = "column"
            facts["images"] = pc.is_valid(table["image"])
        return facts

    def _add_filled(self, facts: Mapping[str, Any]) -> None:
        for field in TEXT_FIELDS:
            self.filled[field] += pc.sum(facts[field]).as_py() or 0
        for one, other in _EITHER:
            self.filled[f"{one} or {other}"] += pc.sum(pc.or_(facts[one], facts[other])).as_py() or 0

    def _add_per_class(self, table: pa.Table, facts: Mapping[str, Any]) -> None:
        self.counted |= facts.keys()
        columns = {name: fact.cast(pa.int64()) for name, fact in facts.items()}
        columns["all_tags"] = pc.fill_null(pc.list_value_length(table["tags"]), 0).cast(pa.int64())
        columns["rows"] = pa.array(np.ones(len(table), np.int64))
        counted = pa.table({"wnid": table["wnid"], **columns}).group_by("wnid")
        for found in counted.aggregate([(name, "sum") for name in columns]).to_pylist():
            counter = self.per_class.setdefault(found["wnid"], Counter())
            counter.update({name: found[f"{name}_sum"] for name in columns})

    def _add_captions(self, captions: pa.ChunkedArray) -> None:
        lengths = pc.utf8_length(captions)
        blanks = pc.count_substring(captions, " ")  # cleaning leaves one blank between words
        words = pc.add(blanks, pc.not_equal(captions, "").cast(pa.int32()))
        _count(lengths, self.characters)
        _count(words, self.words)
        for caption in captions.to_pylist():
            hashed = hash(caption)
            self.captions[hashed] += 1
            if caption and self.captions[hashed] == 2:
                self.repeated[hashed] = caption[: _LONGEST_SHOWN + 1]

    def _add_tags(self, wnids: pa.ChunkedArray, tags: pa.ChunkedArray) -> None:
        of_row = pc.take(wnids, pc.list_parent_indices(tags))
        pairs = pa.table({"wnid": of_row, "tag": pc.utf8_lower(pc.list_flatten(tags))})
        distinct = pairs.group_by(["wnid", "tag"]).aggregate([]).group_by("wnid").aggregate([("tag", "list")])
        for found in distinct.to_pylist():
            hashed = np.array([hash(tag) for tag in found["tag_list"]], np.int64)
            self.tags.setdefault(found["wnid"], []).append(hashed)

    def result(self) -> Stats:
        unique = {wnid: np.unique(np.concatenate(parts)) for wnid, parts in self.tags.items()}
        everywhere = np.unique(np.concatenate([*unique.values(), np.empty(0, np.int64)]))
        on_disk = self._on_disk()
        return Stats(
            classes=tuple(self._class(wnid, len(unique.get(wnid, ())), on_disk) for wnid in classes.wnids(self.among)),
            filled=dict(self.filled),
            languages=_most_first(self.languages),
            licenses=_most_first(self.licenses),
            sources=_most_first(self.sources),
            words=Distribution(dict(self.words)),
            characters=Distribution(dict(self.characters)),
            markup=tuple(
                Markup(field, found["html"], found["entities"], found["addresses"])
                for field, found in self.markup.items()
            ),
            duplicates=self._duplicates(),
            unique_tags=len(everywhere),
            image_source=self.image_source,
        )

    def _class(self, wnid: str, unique_tags: int, on_disk: Mapping[str, int] | None) -> ClassStats:
        found, class_ = self.per_class.get(wnid, Counter()), classes.by_wnid(wnid, self.among)
        return ClassStats(
            wnid=wnid,
            label=class_.index,
            name=class_.name,
            rows=found["rows"],
            **{field: found[field] for field in TEXT_FIELDS},
            names_class=found["names_class"] if "names_class" in self.counted else None,
            images=found["images"] if "images" in self.counted else None,
            on_disk=None if on_disk is None else on_disk.get(wnid, 0) + found["by_photo"],
            all_tags=found["all_tags"],
            unique_tags=unique_tags,
        )

    def _on_disk(self) -> dict[str, int] | None:
        """Return the number of images per class; images whose name has no class are left out."""
        if self.on_disk is None:
            return None
        named: Counter[str] = Counter()
        ids = self.on_disk.filter(pc.starts_with(self.on_disk, "n"))
        _count(pc.utf8_slice_codeunits(ids, 0, _WNID_LENGTH), named)
        return dict(named)

    def _duplicates(self) -> Duplicates:
        counts = {hashed: self.captions[hashed] for hashed in self.repeated}
        most = sorted(counts, key=lambda hashed: (-counts[hashed], self.repeated[hashed]))[:_SHOWN_DUPLICATES]
        shown = tuple((_shortened(self.repeated[hashed]), counts[hashed]) for hashed in most)
        return Duplicates(texts=len(counts), rows=sum(counts.values()), most=shown)


def _count(values: Any, counter: Counter[Any]) -> None:
    for found in values.value_counts().to_pylist():
        counter[found["values"]] += found["counts"]


def _count_markup(texts: pa.ChunkedArray, found: Counter[str]) -> None:
    if pa.types.is_list(texts.type):
        texts = pc.binary_join(texts, "\n")
    for kind, sign, pattern in (("html", "<", _TAG), ("entities", "&", _ENTITY)):
        suspects = texts.filter(pc.match_substring(texts, sign))  # few texts have one, and the pattern is slow
        found[kind] += pc.sum(pc.match_substring_regex(suspects, pattern)).as_py() or 0
    found["addresses"] += pc.sum(pc.match_substring_regex(texts, _ADDRESS)).as_py() or 0


def _most_first(counts: Counter[Any]) -> dict[Any, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))))


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 1] + "…"


def stats(dataset: PlaceLike, images: PlaceLike | None = None) -> Stats:
    """Measure a dataset; `print` shows the result as tables.

        measured = ic.stats("imagenet-captions")
        measured.rows, measured.filled["title"], measured.languages["en"]

    `images` is ImageNet in any form that `package` takes; its images with and without a caption are counted too.
    Raises InputError for a folder that is not a dataset of ours.
    """
    return collect(place(dataset), None if images is None else ImageIndex(place(images)))


def collect(dataset: Place, images: ImageIndex | None = None) -> Stats:
    """Measure a dataset, and with `images` count the rows that have an image there.

    Raises InputError for a folder that is not a dataset of ours.
    """
    columns = [*COLUMNS, "names_class", *(["image_id", "photo_id"] if images else ["image.path"])]
    keys = None if images is None else images.keys
    with unchanged(dataset):
        manifest = read_manifest(dataset)
        files = shard_files(dataset)
        with progress("stats", sum(manifest.shards("data").values()), "rows") as bar:
            tables = _counted(read_tables(files, columns), bar)
            stats = measure(tables, keys, manifest.classes)
        return dataclasses.replace(stats, funnel=read_outcome_counts(dataset / OUTCOMES_FILE))


def _counted(tables: Iterable[pa.Table], bar: Bar) -> Iterator[pa.Table]:
    for table in tables:
        yield table
        bar.update(len(table))


def read_tables(files: Sequence[Place], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the row groups of all files, with those of the columns that a file has."""
    for file in files:
        with parquet_file(file) as opened:
            known = {opened.schema.column(at).path.removesuffix(".list.element") for at in range(len(opened.schema))}
            here = [name for name in columns if name in known]
            for group in range(opened.num_row_groups):
                yield opened.read_row_group(group, columns=here)
