"""The differences between two datasets: image ids gained and lost, and texts changed, by field and class.

They are read in the order of the ids, side by side, one class at a time; neither is held in memory as a whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.loading import CONFIGS, open_parquet
from imagenet_captions.dataset.manifest import read_manifest, shard_files
from imagenet_captions.errors import InputError
from imagenet_captions.storage.parquet import gather, read_files
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

FIELDS = ("title", "description", "tags", "caption")
RAW_FIELDS = ("raw_title", "raw_description", "raw_tags")
_RAW = "raw_"
_ROWS_AT_ONCE = 4096
_GATHERED_ROWS = 1 << 16  # of a shuffled dataset, which is read once for so many
_PARTS_TAGS = "\0"  # cleaned tags have none


@dataclass
class Counts:
    """Numbers of rows that differ, in a class or in a whole dataset."""

    a: int = 0
    b: int = 0
    in_both: int = 0
    changed: int = 0  # rows in both datasets with at least one field that differs
    fields: Counter[str] = field(default_factory=Counter)  # field → rows in both datasets in which it differs

    @property
    def lost(self) -> int:
        """Rows that only the first dataset has."""
        return self.a - self.in_both

    @property
    def gained(self) -> int:
        """Rows that only the second dataset has."""
        return self.b - self.in_both

    @property
    def differing(self) -> int:
        """Rows lost, gained or changed."""
        return self.lost + self.gained + self.changed

    def add(self, other: Counts) -> None:
        """Add the counts of another class."""
        self.a += other.a
        self.b += other.b
        self.in_both += other.in_both
        self.changed += other.changed
        self.fields.update(other.fields)


class Change(NamedTuple):
    """One row that differs: lost, gained, or changed in some fields."""

    image_id: str
    wnid: str
    kind: str
    fields: tuple[str, ...] = ()


class ClassDiff(NamedTuple):
    """The differences in one class, in the order of the image ids."""

    wnid: str
    counts: Counts
    changes: list[Change]


def diff_classes(a: Place, b: Place, raw: bool = False) -> Iterator[ClassDiff]:
    """Yield the differences between two datasets, one class at a time, for every class in either of them.

    The compared fields are title, description, tags and caption. With `raw` they are also raw_title, raw_description
    and raw_tags: the texts as the source gave them.

    Raises InputError for a folder that is not a dataset.
    """
    fields = FIELDS + (RAW_FIELDS if raw else ())
    left, right = _by_class(a, raw), _by_class(b, raw)
    with progress("compare", _rows(a) + _rows(b), "rows") as bar:
        one, other = next(left, None), next(right, None)
        while one is not None or other is not None:
            wnid = min(found.wnid for found in (one, other) if found is not None)
            here = one.rows if one is not None and one.wnid == wnid else None
            there = other.rows if other is not None and other.wnid == wnid else None
            yield _compare(wnid, here, there, fields)
            bar.update(sum(len(rows) for rows in (here, there) if rows is not None))
            one = one if here is None else next(left, None)
            other = other if there is None else next(right, None)


def _rows(dataset: Place) -> int:
    return sum(read_manifest(dataset).shards("data").values())


class _Class(NamedTuple):
    wnid: str
    rows: pa.Table


def _compare(wnid: str, a: pa.Table | None, b: pa.Table | None, fields: Sequence[str]) -> ClassDiff:
    if a is None or b is None:
        only, kind = (b, "gained") if a is None else (a, "lost")
        ids = [] if only is None else only["image_id"].to_pylist()
        counts = Counts(b=len(ids)) if a is None else Counts(a=len(ids))
        return ClassDiff(wnid, counts, [Change(image_id, wnid, kind) for image_id in ids])
    places = pc.index_in(_whole(a["image_id"]), value_set=_whole(b["image_id"]))
    lost = a.filter(pc.is_null(places))["image_id"].to_pylist()
    gained = b.filter(pc.invert(pc.is_in(_whole(b["image_id"]), value_set=_whole(a["image_id"]))))["image_id"]
    here, there = a.filter(pc.is_valid(places)), b.take(places.drop_null())
    differs = {name: _differs(_whole(here[name]), _whole(there[name])) for name in fields}
    changes = [Change(image_id, wnid, "lost") for image_id in lost]
    changes += [Change(image_id, wnid, "gained") for image_id in gained.to_pylist()]
    changed = np.flatnonzero(np.any(list(differs.values()), axis=0))
    ids = here["image_id"].take(pa.array(changed, pa.int64())).to_pylist()
    for row, image_id in zip(changed.tolist(), ids, strict=True):
        changes.append(Change(image_id, wnid, "changed", tuple(name for name in fields if differs[name][row])))
    found = Counter({name: int(np.count_nonzero(mask)) for name, mask in differs.items()})
    return ClassDiff(wnid, Counts(len(a), len(b), len(here), len(changed), found), sorted(changes))


def _differs(a: pa.Array, b: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return a mask of the rows in which two columns differ."""
    if not pa.types.is_list(a.type):
        return pc.fill_null(pc.not_equal(a, b), True).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]
    if any(pc.any(pc.match_substring(column.flatten(), _PARTS_TAGS)).as_py() for column in (a, b)):
        return np.array([x != y for x, y in zip(a.to_pylist(), b.to_pylist(), strict=True)], np.bool_)
    texts = pc.not_equal(pc.binary_join(a, _PARTS_TAGS), pc.binary_join(b, _PARTS_TAGS))
    lengths = pc.not_equal(pc.list_value_length(a), pc.list_value_length(b))
    return pc.fill_null(pc.or_(texts, lengths), True).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _by_class(dataset: Place, raw: bool) -> Iterator[_Class]:
    """Yield the texts of a dataset, one class at a time."""
    classes = _classes_of(dataset, "default", FIELDS)
    if not raw:
        yield from classes
        return
    names = [name.removeprefix(_RAW) for name in RAW_FIELDS]
    others = _classes_of(dataset, "raw", names)
    for found in classes:
        other = next(others, None)
        if other is None or other.rows["image_id"] != found.rows["image_id"]:
            raise _damaged(dataset)
        rows = found.rows
        for name in names:
            rows = rows.append_column(_RAW + name, other.rows[name])
        yield _Class(found.wnid, rows)


def _classes_of(dataset: Place, config: str, columns: Sequence[str]) -> Iterator[_Class]:
    parquet = open_parquet(dataset, config)
    names = ["image_id", "wnid", *columns]
    if set(names) - set(parquet.schema.names):
        raise _damaged(dataset)
    held: list[pa.RecordBatch] = []
    last = ""
    for batch in _by_id(dataset, config, names):
        wnids = batch["wnid"].to_numpy(zero_copy_only=False)
        starts = np.flatnonzero(np.append(len(wnids) > 0, wnids[1:] != wnids[:-1])).tolist()
        for start, end in zip(starts, [*starts[1:], len(wnids)], strict=True):
            wnid = wnids[start]
            if wnid != last:
                if held:
                    yield _Class(last, pa.Table.from_batches(held))
                if wnid < last:
                    raise _damaged(dataset)
                held, last = [], wnid
            held.append(batch.slice(start, end - start))
    if held:
        yield _Class(last, pa.Table.from_batches(held))


def _by_id(dataset: Place, config: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield the rows in the order of their ids; those of a shuffled dataset are gathered, many at a time."""
    manifest, files = read_manifest(dataset), shard_files(dataset, CONFIGS[config])
    if manifest.shuffled is None:
        # Not the dataset's own scanner, which reads far ahead: 700 MB for a published-size dataset without images.
        yield from read_files(files, _ROWS_AT_ONCE, columns)
        return
    ids = pa.chunked_array(batch["image_id"] for batch in read_files(files, columns=["image_id"]))
    order = pc.sort_indices(ids).to_numpy().astype(np.int64)
    starts = list(accumulate(manifest.shards(CONFIGS[config]).values(), initial=0))[:-1]
    for start in range(0, len(order), _GATHERED_ROWS):
        rows = order[start : start + _GATHERED_ROWS]
        yield from gather(zip(starts, files, strict=True), rows, columns).to_batches()


def _damaged(dataset: Place) -> InputError:
    return InputError(f"{dataset} is not as it was written; `imagenet-captions verify` says where")


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([pa.array([], column.type), *column.chunks])
