"""Computing `Stats` from the rows of a dataset, table by table; only counts and hashes are held, never the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.statistics.result import TEXT_FIELDS, ClassStats, Distribution, Duplicates, Markup, Stats

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
