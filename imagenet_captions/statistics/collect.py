"""Measure a dataset: one pass over its rows, counted per class and in all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.shards import Shards
from imagenet_captions.dataset.writing import count_values, read_outcome_counts
from imagenet_captions.errors import shortened
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.sources import ImageSource
from imagenet_captions.outcomes import Outcome
from imagenet_captions.schema import CAPTIONS
from imagenet_captions.storage.places import PlaceLike, place
from imagenet_captions.storage.progress import progress

Hashes = npt.NDArray[np.int64]

TEXT_FIELDS = ("title", "description", "tags", "caption")
_EITHER = (("title", "tags"), ("title", "description"), ("tags", "description"))
_COUNTED = ("language", "license", "source")
_SUMS = ("rows", "all_tags", "names_class", "images", "on_disk")
# Each kind of markup, a sign that every text with it has, and the pattern, which is slow.
_MARKUP = {
    "html": ("<", r"<[A-Za-z/!][^<>]*>"),
    "entities": ("&", r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#[0-9]{1,8}|#[xX][0-9A-Fa-f]{1,8});"),
    "addresses": ("", r"(?i)https?://|www\."),
}
_NO_TAGS = np.empty(0, np.int64)
_SHOWN_DUPLICATES, _LONGEST_SHOWN = 10, 120
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Distribution:
    """The number of occurrences of each whole number."""

    counts: Mapping[int, int]

    def quantile(self, share: float) -> float:
        """Return a quantile, interpolated as in `numpy.quantile`; 0 if there are no numbers."""
        numbers = np.repeat(list(self.counts), list(self.counts.values()))
        return float(np.quantile(numbers, share)) if len(numbers) else 0.0

    def bins(self) -> list[tuple[int, int, int]]:
        """Return the first number, the last and the count of the bins 0, 1, 2 to 3, 4 to 7 and so on.

        They begin and end with one that is not empty.
        """
        binned: Counter[int] = Counter()
        for value, count in self.counts.items():
            binned[value.bit_length()] += count
        bits = range(min(binned, default=1), max(binned, default=0) + 1)
        return [((1 << each) >> 1, (1 << each) - 1, binned[each]) for each in bits]


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


class Duplicates(NamedTuple):
    """Captions that several rows have in common, letter by letter."""

    texts: int  # different captions that occur more than once
    rows: int  # rows that have one of them
    most: tuple[tuple[str, int], ...]  # the most frequent ones, shortened, with their counts


@dataclass(frozen=True)
class Stats:
    """The statistics of a dataset; `str` gives the tables that the command `stats` prints."""

    classes: tuple[ClassStats, ...]  # all classes of the dataset's set, in the order of their labels
    rows: int
    filled: Mapping[str, int]  # "title", or "title or tags" → rows with at least one of them
    names_class: int  # rows whose texts name their class
    images: int | None  # rows that have an image; None without images
    on_disk: int | None  # given images, with or without a row; None if none were given
    languages: Mapping[str | None, int]  # most frequent first, as the next two
    licenses: Mapping[int | None, int]
    sources: Mapping[str, int]
    words: Distribution  # of captions
    characters: Distribution
    markup: Mapping[str, Mapping[str, int]]  # field → html, entities, addresses → rows that have what looks like it
    duplicates: Duplicates
    all_tags: int  # tags in all rows, repeated ones included
    unique_tags: int
    funnel: Mapping[Outcome, int] | None = None

    def __str__(self) -> str:
        from imagenet_captions.statistics.report import as_text, sections

        return as_text(sections(self))


def stats(dataset: PlaceLike, images: PlaceLike | None = None) -> Stats:
    """Measure a dataset; `print` shows the result as tables.

        measured = ic.stats("imagenet-captions")
        measured.rows, measured.filled["title"], measured.languages["en"]

    `images` is ImageNet in any form that `package` takes; its images with and without a caption are counted too.
    Raises InputError for a folder that is not a dataset of ours.
    """
    return collect(Shards(place(dataset)), None if images is None else ImageSource(place(images)))


def collect(shards: Shards, images: ImageSource | None = None) -> Stats:
    """Measure a dataset, and with `images` count the rows that have an image there."""
    keys = None if images is None else images.keys
    columns = ["wnid", *TEXT_FIELDS, "names_class", *_COUNTED]
    if images is not None:
        columns += ["image_id", "photo_id"]
    elif "image" in shards.schema().names:
        columns.append("image.path")
    with shards.unchanged(), progress("stats", shards.rows, "rows") as bar:

        def watched() -> Iterator[pa.RecordBatch]:
            for batch in shards.read(columns, rows=_ROWS_AT_ONCE):
                yield batch
                bar.update(len(batch))

        measured = measure(watched(), keys, shards.manifest.classes)
        return replace(measured, funnel=read_outcome_counts(shards.outcomes))


def measure(
    batches: Iterable[pa.RecordBatch], on_disk: pa.StringArray | None = None, among: ClassSet = ClassSet.ILSVRC2012
) -> Stats:
    """Measure a dataset's rows; only numbers and hashes are held, never the texts.

    `on_disk` holds the names of images outside the dataset, image ids or Flickr photo ids. Batches may be cut anywhere
    and come in any order.
    """
    facts = []
    tags: dict[str, list[Hashes]] = defaultdict(list)  # by wnid
    markup = {name: dict.fromkeys(_MARKUP, 0) for name in TEXT_FIELDS}
    captions: Counter[int] = Counter()  # by hash
    repeated: dict[int, str] = {}  # hash → caption
    for batch in chain([pa.RecordBatch.from_pylist([], CAPTIONS)], batches):
        facts.append(_facts(batch, on_disk))
        of_row = pc.take(batch["wnid"], pc.list_parent_indices(batch["tags"]))
        pairs = pa.table({"wnid": of_row, "tag": pc.utf8_lower(pc.list_flatten(batch["tags"]))})
        by_class = pairs.group_by(["wnid", "tag"]).aggregate([]).group_by("wnid").aggregate([("tag", "list")])
        for found in by_class.to_pylist():
            tags[found["wnid"]].append(np.array([hash(tag) for tag in found["tag_list"]], np.int64))
        for name, counts in markup.items():
            texts = pc.binary_join(batch["tags"], "\n") if name == "tags" else batch[name]
            for kind, (sign, pattern) in _MARKUP.items():
                suspects = texts.filter(pc.match_substring(texts, sign)) if sign else texts  # few have it
                counts[kind] += pc.sum(pc.match_substring_regex(suspects, pattern)).as_py() or 0
        for caption in batch["caption"].to_pylist():
            hashed = hash(caption)
            captions[hashed] += 1
            if caption and captions[hashed] == 2:
                repeated[hashed] = caption[: _LONGEST_SHOWN + 1]
    rows = pa.concat_tables(facts, promote_options="default")
    different = {wnid: np.unique(np.concatenate(parts)) for wnid, parts in tags.items()}
    found = _classes(rows, different, on_disk, among)
    either = {f"{one} or {other}": pc.or_(rows[one], rows[other]) for one, other in _EITHER}
    masks = {name: rows[name] for name in TEXT_FIELDS} | either
    times = {hashed: captions[hashed] for hashed in repeated}
    most = sorted(times, key=lambda hashed: (-times[hashed], repeated[hashed]))[:_SHOWN_DUPLICATES]
    shown = tuple((shortened(repeated[hashed], _LONGEST_SHOWN), times[hashed]) for hashed in most)
    sums: dict[str, Any] = {}
    for name in _SUMS:
        counts_of_classes = [getattr(entry, name) for entry in found]
        sums[name] = None if None in counts_of_classes else sum(counts_of_classes)
    return Stats(
        classes=tuple(found),
        filled={name: pc.sum(mask).as_py() or 0 for name, mask in masks.items()},
        languages=_counts(rows["language"]),
        licenses=_counts(rows["license"]),
        sources=_counts(rows["source"]),
        words=Distribution(_counts(rows["words"])),
        characters=Distribution(_counts(rows["characters"])),
        markup=markup,
        duplicates=Duplicates(len(times), sum(times.values()), shown),
        unique_tags=len(np.unique(np.concatenate([_NO_TAGS, *different.values()]))),
        **sums,
    )


def _facts(batch: pa.RecordBatch, on_disk: pa.StringArray | None) -> pa.Table:
    """Return the numbers and masks of the rows that are counted, in all or per class."""
    captions, number_of_tags = batch["caption"], pc.list_value_length(batch["tags"])
    facts = {name: batch[name] for name in ("wnid", "names_class", *_COUNTED)}
    facts |= {name: pc.not_equal(batch[name], "") for name in ("title", "description", "caption")}
    facts |= {"tags": pc.greater(number_of_tags, 0), "all_tags": number_of_tags}
    # Cleaning leaves one blank between words.
    facts["words"] = pc.add(pc.count_substring(captions, " "), facts["caption"].cast(pa.int32()))
    facts["characters"] = pc.utf8_length(captions)
    if on_disk is not None:
        facts["by_photo"] = pc.is_in(batch["photo_id"], on_disk)
        facts["images"] = pc.or_(pc.is_in(batch["image_id"], on_disk), facts["by_photo"])
    elif "image" in batch.schema.names:
        facts["images"] = pc.is_valid(batch["image"])
    return pa.table(facts)


def _classes(
    rows: pa.Table, tags: Mapping[str, Hashes], on_disk: pa.StringArray | None, among: ClassSet
) -> list[ClassStats]:
    summed = [name for name in rows.column_names if name not in ("wnid", "words", "characters", *_COUNTED)]
    found = rows.group_by("wnid").aggregate([([], "count_all"), *((name, "sum") for name in summed)])
    found = found.rename_columns(["wnid", "rows", *summed])
    by_wnid = {counts["wnid"]: counts for counts in found.to_pylist()}
    ids = None if on_disk is None else on_disk.filter(pc.starts_with(on_disk, "n"))
    named = None if ids is None else _counts(pc.utf8_slice_codeunits(ids, 0, len("n01440764")))
    entries = []
    for wnid in classes.wnids(among):
        known = classes.by_wnid(wnid, among)
        counts = by_wnid.get(wnid) or dict.fromkeys(["rows", *summed], 0) | {"wnid": wnid}
        by_photo = counts.pop("by_photo", 0)
        unique_tags = len(tags.get(wnid, _NO_TAGS))
        entry = ClassStats(label=known.index, name=known.name, unique_tags=unique_tags, **counts)
        entries.append(entry if named is None else replace(entry, on_disk=named.get(wnid, 0) + by_photo))
    return entries


def _counts(values: pa.Array | pa.ChunkedArray) -> dict[Any, int]:
    """Return how often each value occurs, the most frequent first."""
    return dict(sorted(count_values(values).items(), key=lambda item: (-item[1], str(item[0]))))
