"""The facts about a dataset that its card and its `croissant.json` state, counted while its shards are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.outcomes import Outcome

UNKNOWN_LANGUAGE = "und"
_SMALLEST_SHARE = 1000  # a language of fewer rows than one in so many is mostly errors of the detector


@dataclass
class ShardFile:
    """A written shard and the counts of its values."""

    name: str  # data/train-00000-of-00012.parquet
    sha256: str = ""
    bytes: int = 0
    rows: int = 0
    images: int = 0
    filled: Counter[str] = field(default_factory=Counter)  # column → rows in which it is neither empty nor false
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    wnids: Counter[str] = field(default_factory=Counter)
    licenses: Counter[int] = field(default_factory=Counter)
    captions: list[npt.NDArray[np.uint64]] = field(default_factory=list)  # a hash of each caption that is not empty
    columns: dict[str, str] = field(default_factory=dict)  # name → Arrow type
    retrieved: set[str] = field(default_factory=set)  # the first and the last day of each row group

    def count(self, table: pa.Table) -> None:
        """Add the counts of a row group."""
        self.rows += len(table)
        for name in table.column_names:
            column = table[name]
            if name == "image":
                self.images += len(column) - column.null_count
            elif pa.types.is_string(column.type):
                self.filled[name] += pc.sum(pc.not_equal(column, "")).as_py() or 0
            elif pa.types.is_list(column.type):
                self.filled[name] += pc.sum(pc.greater(pc.list_value_length(column), 0)).as_py() or 0
            elif pa.types.is_boolean(column.type):
                self.filled[name] += pc.sum(column).as_py() or 0
            else:
                self.filled[name] += len(column) - column.null_count
        if "retrieved_at" in table.column_names:
            bounds = pc.min_max(table["retrieved_at"]).as_py().values()
            self.retrieved |= {moment.date().isoformat() for moment in bounds if moment is not None}
        if "caption" in table.column_names:
            captions = table["caption"].filter(pc.not_equal(table["caption"], ""))
            self.captions.append(text_hashes(captions))
        counters: list[tuple[str, Counter[Any]]] = [("language", self.languages), ("source", self.sources)]
        for name, counter in [*counters, ("wnid", self.wnids), ("license", self.licenses)]:
            if name in table.column_names:
                for entry in table[name].value_counts().to_pylist():
                    if entry["values"] is not None:
                        counter[entry["values"]] += entry["counts"]


def text_hashes(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each text."""
    from pandas.util import hash_array  # readers of a dataset need not wait for its import

    hashes: npt.NDArray[np.uint64] = hash_array(np.asarray(texts, object), categorize=False)
    return hashes


@dataclass(frozen=True)
class Origin:
    """Where a dataset is from: its inputs and settings, and what earlier stages counted for the card."""

    inputs: Mapping[str, str]  # role → SHA-256
    settings: Mapping[str, Any]
    measured: Mapping[str, Any]  # "survival" of the listed photos


@dataclass(frozen=True)
class DatasetFacts:
    """The facts about one dataset; they depend on its inputs and settings alone."""

    rows: int
    shards: int  # of each config
    classes: Mapping[str, int]  # wnid → rows, of those that have at least one
    images: int | None  # None without an image column
    filled: Mapping[str, int]
    languages: Mapping[str, int]
    sources: Mapping[str, int]
    retrieved: tuple[str, str] | None  # the first and the last day, such as 2026-11-03
    funnel: Mapping[Outcome, int]
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    made_with: Mapping[str, str]
    licenses: Mapping[int, int] = field(default_factory=dict)  # Flickr's number → rows
    repeated: int = 0  # rows with a caption that another row has too
    measured: Mapping[str, Any] = field(default_factory=dict)  # of `Origin`

    @property
    def origin(self) -> str:
        """Return the name of the part of ImageNet that the images are from."""
        return "the ILSVRC-2012 training set" if self.among is ClassSet.ILSVRC2012 else "ImageNet (fall 2011)"

    @property
    def among(self) -> ClassSet:
        """Return the set of classes that `label` counts over."""
        return ClassSet.recorded(self.settings)

    def common_languages(self) -> list[str]:
        """Return the codes of the languages that at least one row in a thousand has, sorted; English without any."""
        common = [code for code, count in self.languages.items() if count * _SMALLEST_SHARE >= self.rows]
        return sorted({*common} - {UNKNOWN_LANGUAGE}) or ["en"]


def count_shards(shards: Sequence[ShardFile], has_images: bool) -> dict[str, Any]:
    """Return the facts that the shards of the config `default` counted while they were written."""
    days = sorted(day for shard in shards for day in shard.retrieved)
    return {
        "rows": sum(shard.rows for shard in shards),
        "shards": len(shards),
        "images": sum(shard.images for shard in shards) if has_images else None,
        "retrieved": (days[0], days[-1]) if days else None,
        "classes": sum((shard.wnids for shard in shards), Counter[str]()),
        "languages": sum((shard.languages for shard in shards), Counter[str]()),
        "sources": sum((shard.sources for shard in shards), Counter[str]()),
        "licenses": dict(sorted(sum((shard.licenses for shard in shards), Counter[int]()).items())),
        "repeated": count_repeated([part for shard in shards for part in shard.captions]),
        "filled": _filled(shards),
    }


def count_repeated(hashes: Sequence[npt.NDArray[np.uint64]]) -> int:
    """Return how many of the hashes are there more than once.

    >>> count_repeated([np.array([5, 7, 5], np.uint64), np.array([7, 9], np.uint64)])
    4
    """
    counts = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]), return_counts=True)[1]
    return int(counts[counts > 1].sum())


def _filled(shards: Sequence[ShardFile]) -> dict[str, int]:
    filled: Counter[str] = Counter()
    for shard in shards:
        filled.update(shard.filled)
    return dict(filled)  # in the order of the columns, which is the same in every shard
