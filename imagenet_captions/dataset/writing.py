"""Write a dataset folder: its schema, how rows are cut into shards and row groups, the shards, and the manifest."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import accumulate, chain, pairwise, repeat
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagenet_captions.dataset.card import DatasetFacts, card, croissant
from imagenet_captions.dataset.shards import FileEntry
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles, image_column
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome, count_outcomes
from imagenet_captions.storage.files import CARD, CROISSANT, replacing, sha256, write_json, write_text
from imagenet_captions.storage.parquet import (
    COMPRESSION,
    FEW_SHARDS,
    GROUP_BYTES,
    SHARD_BYTES,
    SHUFFLED_SHARDS,
    SMALL_SHARD,
    gather,
    open_parquet_writer,
    read_files,
    read_metadata,
    take_each,
)
from imagenet_captions.storage.places import Place

IMAGE = pa.field("image", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))
Integers = npt.NDArray[np.int64]
_NOTES = b"huggingface"  # the metadata that `datasets` reads

# Schemas.


def dataset_schema(
    row: Iterable[pa.Field], images: bool, among: ClassSet, local: Sequence[str] | None = None
) -> pa.Schema:
    """Return the schema of a dataset's files for rows of `schema.ROW` or `schema.RAW_ROW`, with or without images.

    With `local`, `label` counts over these classes alone, and `label_original` over all.

    `datasets` uses the metadata of a column only if its Arrow field is the one that `datasets` itself would write:
    nullable, and of a type that Parquet keeps. So every column is nullable (otherwise the label would load as a plain
    number), and times are in milliseconds (Parquet has no seconds).
    """
    labels = {"label": classes.wnids(among)}
    if local is not None:
        labels = {"label": tuple(local), "label_original": classes.wnids(among)}
    fields: list[pa.Field] = []
    features: dict[str, Any] = {}
    for column in row:
        name, kind = column.name, column.type
        if pa.types.is_timestamp(kind):
            kind = pa.timestamp("ms", kind.tz)
        if name == "label":
            # Names are never keys: "missile" and "sunglasses" are the curated names of two classes each.
            for each, wnids in labels.items():
                fields.append(pa.field(each, kind))
                features[each] = {"names": wnids, "_type": "ClassLabel"}
            continue
        fields.append(pa.field(name, kind))
        if pa.types.is_list(kind):
            # The oldest form, which every version reads: `{"_type": "List"}` fails before datasets 4.
            features[name] = [{"dtype": str(kind.value_type), "_type": "Value"}]
        else:
            features[name] = {"dtype": str(kind), "_type": "Value"}
    if images:
        fields.append(IMAGE)
        features["image"] = {"_type": "Image"}
    return pa.schema(fields, {_NOTES: json.dumps({"info": {"features": features}}).encode()})


def label_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the classes that `label` counts over, and `label_original` in a dataset that has it."""
    try:
        features = json.loads(schema.metadata[_NOTES])["info"]["features"]
        names = [name for name in ("label", "label_original") if name in schema.names]
        return {name: features[name]["names"] for name in names}
    except (KeyError, TypeError, ValueError):
        raise InputError("the shards say nothing of their labels to `datasets`; package the dataset again") from None


# Plans.


class RowGroup(NamedTuple):
    """Rows `start` to `stop` of those that a plan is for."""

    start: int
    stop: int
    bytes: int


def plan_groups(
    classes: Iterable[tuple[str, int]],
    sizes: Iterable[int],
    fill: int = 1,
    most: int = GROUP_BYTES,
    first: int = 0,
) -> list[RowGroup]:
    """Divide rows into row groups that end with a class; a very large class fills several.

    `classes` has the number of rows of each class, in the order of the rows, and `sizes` the bytes of each row.

    A group of fewer than `fill` rows takes another class. With `fill=1` every class has groups of its own, so that a
    filter on a class reads the images of that class only.

    >>> [(g.start, g.stop) for g in plan_groups([("a", 2), ("b", 1), ("c", 2)], [1, 1, 1, 9, 9], most=10)]
    [(0, 2), (2, 3), (3, 4), (4, 5)]
    >>> [(g.start, g.stop) for g in plan_groups([("a", 2), ("b", 1), ("c", 2)], [1, 1, 1, 1, 1], fill=3)]
    [(0, 3), (3, 5)]
    """
    groups: list[RowGroup] = []
    start = stop = first
    held, before = 0, ""
    wnids = chain.from_iterable(repeat(wnid, count) for wnid, count in classes)
    for wnid, size in zip(wnids, sizes, strict=True):
        full = wnid != before and stop - start >= fill
        if stop > start and (full or held + size > most):
            groups.append(RowGroup(start, stop, held))
            start, held = stop, 0
        held += size
        stop, before = stop + 1, wnid
    return [*groups, RowGroup(start, stop, held)] if stop > start else groups


def plan_shuffled(sizes: Sequence[int], shards: int | None, fill: int | None) -> list[list[RowGroup]]:
    """Divide rows in a seeded order over shards with as many rows each, in groups of `fill` rows if it is given.

    Without `shards` there are 16, or more for shards of about 500 MB.

    >>> [[(g.start, g.stop) for g in shard] for shard in plan_shuffled([1] * 7, shards=2, fill=3)]
    [[(0, 3)], [(3, 6), (6, 7)]]
    """
    count = max(SHUFFLED_SHARDS, round(sum(sizes) / SHARD_BYTES)) if shards is None else shards
    cuts = [len(sizes) * number // count for number in range(count + 1)]
    planned = []
    for start, stop in pairwise(cuts):
        # Every row counts as a class of its own, so that a group ends as soon as it is filled.
        rows = ((str(row), 1) for row in range(start, stop))
        planned.append(plan_groups(rows, sizes[start:stop], fill or len(sizes), first=start))
    return [shard for shard in planned if shard]


def plan_shards(groups: Sequence[RowGroup]) -> list[list[RowGroup]]:
    """Distribute row groups over shards of about equal size, 500 MB or a little more each.

    >>> [len(shard) for shard in plan_shards([RowGroup(i, i + 1, 32_000_000) for i in range(10)])]
    [2, 2, 2, 2, 2]
    """
    total = sum(group.bytes for group in groups)
    count = max(1, round(total / SHARD_BYTES), min(FEW_SHARDS, total // SMALL_SHARD))
    shards: list[list[RowGroup]] = [[] for _ in range(count)]
    before = 0
    for group in groups:
        middle = before + group.bytes // 2
        shards[min(count - 1, middle * count // max(1, total))].append(group)
        before += group.bytes
    return [shard for shard in shards if shard] or [[]]


# Shards.

TEXTS = frozenset({"title", "description", "caption", "tags"})
# Columns whose values repeat within a class. For others a dictionary would be built and then dropped.
_REPEATING = frozenset({
    "wnid", "label", "class_name", "tags", "language", "owner", "owner_name", "license", "source",
    "mentions",
})  # fmt: skip
# Rows between two checks of a page's size; with images, a whole row group would otherwise be one page.
_PAGE_ROWS = 16
_COUNTED = ("wnid", "language", "source", "license", "retrieved_at")


@dataclass
class ShardFile:
    """A written shard and the counts of its values."""

    name: str  # data/train-00000-of-00012.parquet
    columns: Mapping[str, str]  # name → Arrow type
    sha256: str = ""
    bytes: int = 0
    rows: int = 0
    filled: Counter[str] = field(default_factory=Counter)  # column → rows in which it is neither empty nor false
    # Column → value → rows, of some columns; times are counted by day.
    values: defaultdict[str, Counter[Any]] = field(default_factory=lambda: defaultdict(Counter))
    captions: list[npt.NDArray[np.uint64]] = field(default_factory=list)  # a hash of each that is not empty
    faults: dict[int, str] = field(default_factory=dict)  # rows left out, whose images are broken

    def count(self, table: pa.Table) -> None:
        """Add the counts of a row group."""
        self.rows += len(table)
        for name in table.column_names:
            column = table[name]
            if pa.types.is_string(column.type):
                filled = pc.not_equal(column, "")
            elif pa.types.is_list(column.type):
                filled = pc.greater(pc.list_value_length(column), 0)
            else:
                filled = column if pa.types.is_boolean(column.type) else column.is_valid()
            self.filled[name] += pc.sum(filled).as_py() or 0
            if name in _COUNTED:
                days = column.cast(pa.date32(), safe=False) if pa.types.is_timestamp(column.type) else column
                self.values[name].update(count_values(days.drop_null()))
            elif name == "caption":
                self.captions.append(text_hashes(column.filter(filled)))


def count_values(column: pa.Array | pa.ChunkedArray) -> dict[Any, int]:
    """Return how often each value is in a column, in the order in which they come."""
    values, counts = column.value_counts().flatten()
    return dict(zip(values.to_pylist(), counts.to_pylist(), strict=True))


def text_hashes(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """Return a 64-bit hash of each text."""
    from pandas.util import hash_array  # readers of a dataset need not wait for its import

    hashes: npt.NDArray[np.uint64] = hash_array(np.asarray(texts, object), categorize=False)
    return hashes


class ShardJob(NamedTuple):
    """The task of a worker: one shard to write, from rows of other files."""

    sources: Sequence[tuple[int, Place]]  # files with these rows, and the numbers of their first rows
    folder: Place  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    schema: pa.Schema
    groups: Sequence[Integers]  # the rows of each row group
    ranges: Sequence[ByteRange | None] | None  # of the images of all these rows, unless they come from a column
    prefix: str  # of the columns of texts in the sources


def shard_jobs(
    folder: Place,
    config: str,
    schema: pa.Schema,
    sources: Sequence[tuple[int, Place]],
    shards: Sequence[Sequence[Integers]],
    ranges: Sequence[ByteRange | None] | None = None,
    prefix: str = "",
) -> Iterator[ShardJob]:
    """Yield the task of each shard of a config; `shards` has the rows of its row groups, `ranges` is by row."""
    starts = [start for start, _ in sources]
    for number, groups in enumerate(shards):
        rows = np.concatenate([np.empty(0, np.int64), *groups])
        needed = np.unique(np.searchsorted(starts, rows, side="right") - 1)
        own = None if ranges is None else [ranges[row] for row in rows.tolist()]
        # As `load_dataset` and the hub expect it.
        name = f"{config}/train-{number:05d}-of-{len(shards):05d}.parquet"
        yield ShardJob([sources[at] for at in needed], folder, name, schema, groups, own, prefix)


def write_shard(job: ShardJob) -> ShardFile:
    """Write a shard and return its counts; rows with a broken image are left out, and are among its `faults`.

    Texts are compressed and images are not; columns that filters ask for have statistics.
    """
    file = ShardFile(job.name, {column.name: str(column.type) for column in job.schema})
    leaves: dict[str, str] = {}  # as Parquet calls it → column
    for column in job.schema:
        if pa.types.is_struct(column.type):
            leaves |= {f"{column.name}.{part.name}": column.name for part in column.type}
        else:
            ending = ".list.element" if pa.types.is_list(column.type) else ""
            leaves[column.name + ending] = column.name
    layout: dict[str, Any] = {
        "compression": {leaf: "NONE" if leaf == "image.bytes" else COMPRESSION for leaf in leaves},
        "use_dictionary": [leaf for leaf, name in leaves.items() if name in _REPEATING],
        "write_statistics": [leaf for leaf, name in leaves.items() if name != "image" and name not in TEXTS],
        "write_page_index": True,
        "write_batch_size": _PAGE_ROWS if "image" in job.schema.names else None,
    }
    with replacing(job.folder / job.name) as path:
        with pq.ParquetWriter(path, job.schema, **layout) as writer:
            for table in _tables(job, file.faults):
                if len(table):
                    writer.write_table(table.cast(job.schema), row_group_size=len(table))
                    file.count(table)
        file.sha256, file.bytes = sha256(path), path.stat().st_size
    pa.default_memory_pool().release_unused()  # otherwise unused memory grows from shard to shard
    return file


def _tables(job: ShardJob, faults: dict[int, str]) -> Iterator[pa.Table]:
    """Yield the row groups and add the faults found in them; the next one is read while one is written."""
    rows = np.concatenate([np.empty(0, np.int64), *job.groups])
    bounds = list(pairwise(accumulate(map(len, job.groups), initial=0)))
    labels = label_names(job.schema)
    made = {*labels, *(() if job.ranges is None else ("image",))}
    names = [name for name in job.schema.names if name not in made]
    columns = [job.prefix + name if name in TEXTS else name for name in names]
    if (np.diff(rows) > 0).all():
        texts = take_each(job.sources, (rows[start:stop] for start, stop in bounds), columns, rows)
    else:  # rows from everywhere: the texts of the whole shard are held, and the images of one group
        whole = gather(job.sources, rows, columns)
        texts = (whole.slice(start, stop - start) for start, stop in bounds)
    with closing(OpenFiles()) as images, ThreadPoolExecutor(1) as ahead:

        def read(start: int, stop: int) -> pa.Table:
            table = next(texts).rename_columns(names)
            for name, wnids in labels.items():
                numbers = pc.index_in(table["wnid"], pa.array(wnids, pa.string()))
                table = table.append_column(name, numbers.cast(pa.int64()))
            if job.ranges is not None:
                data, found = images.read_images(job.ranges[start:stop])
                table = table.append_column("image", image_column(data, table["filename"]))
                faults.update((int(rows[start + at]), fault) for at, fault in found.items())
                if found:
                    table = table.filter(pa.array([at not in found for at in range(len(table))]))
            return table.select(job.schema.names)

        upcoming: Future[pa.Table] | None = None
        for bound in [*bounds, None]:
            current, upcoming = upcoming, None if bound is None else ahead.submit(read, *bound)
            if current is not None:
                yield current.result()


def finish_dataset(
    folder: Place,
    shards: Sequence[ShardFile],
    inputs: Mapping[str, str],
    settings: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> DatasetFacts:
    """Write the card, `croissant.json` and the manifest of a folder that has all its shards and its outcomes."""
    outcomes = folder / OUTCOMES_FILE
    data = [shard for shard in shards if shard.name.startswith("data/")]
    filled: Counter[str] = Counter()  # in the order of the columns, which is the same in every shard
    values: defaultdict[str, Counter[Any]] = defaultdict(Counter)
    for shard in data:
        filled.update(shard.filled)
        for name, counter in shard.values.items():
            values[name].update(counter)
    days = [day.isoformat() for day in sorted(values["retrieved_at"])]
    hashes = [part for shard in data for part in shard.captions]
    repeats = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]), return_counts=True)[1]
    files = {shard.name: FileEntry(shard.sha256, shard.bytes, shard.rows) for shard in shards}
    facts = DatasetFacts(
        made_with={"imagenet-captions": version("imagenet-captions"), "pyarrow": pa.__version__},
        inputs=inputs,
        settings=settings,
        counts={outcome.value: count for outcome, count in read_outcome_counts(outcomes).items()},
        images=filled.pop("image", 0) if "image" in data[0].columns else None,
        files=files,
        measured=measured,
        rows=sum(shard.rows for shard in data),
        shards_a_config=len(data),
        by_class=values["wnid"],
        filled=filled,
        languages=values["language"],
        sources=values["source"],
        licenses=dict(sorted(values["license"].items())),
        retrieved=(days[0], days[-1]) if days else None,
        repeated=int(repeats[repeats > 1].sum()),
    )

    def list_file(name: str, rows: int | None = None) -> None:
        files[name] = FileEntry(sha256(folder / name), (folder / name).stat().st_size, rows)

    list_file(OUTCOMES_FILE, read_metadata(outcomes).num_rows)
    columns = {shard.name.split("/")[0]: shard.columns for shard in shards}
    write_json(folder / CROISSANT, croissant(facts, columns))
    write_text(folder / CARD, card(facts))
    list_file(CARD)
    list_file(CROISSANT)
    facts.write(folder)
    return facts


OUTCOMES_AT_ONCE = 30_000  # rows; more, if their last class is not complete
_ORDER = [(name, "ascending") for name in ("wnid", "image_id", "outcome", "detail", "count")]


def read_outcome_counts(outcomes: Place) -> dict[Outcome, int]:
    """Return the number of inputs per outcome in an outcomes file."""
    return count_outcomes(read_files([outcomes], columns=["outcome", "count"]))


def write_outcomes(
    path: Place,
    kept: Iterable[pa.RecordBatch],
    end_of: Callable[[int], tuple[Outcome, str] | None],
    earlier: Iterable[pa.RecordBatch],
) -> None:
    """Write the outcomes of rows, of which `kept` has image_id, wnid and detail, and of the inputs dropped earlier.

    `end_of` gives for the number of a row its outcome if that is not "kept", and a remark on any.

    Both are sorted by wnid and image id, and a few classes are held at a time. Raises InputError if both have the same
    id, because the two files are then not of one run.
    """

    def ended() -> Iterator[pa.Table]:
        start = 0
        for batch in kept:
            kinds, remarks = [], []
            for row, remark in enumerate(batch["detail"].to_pylist(), start):
                outcome, more = end_of(row) or (Outcome.KEPT, None)
                kinds.append(outcome.value)
                remarks.append("; ".join(filter(None, (remark, more))) or None)
            start += len(batch)
            yield pa.table([batch["image_id"], batch["wnid"], kinds, remarks, [1] * len(batch)], schema=OUTCOMES)

    drops = (pa.Table.from_batches([batch]).select(OUTCOMES.names).cast(OUTCOMES) for batch in earlier)
    with replacing(path) as local, open_parquet_writer(local, OUTCOMES) as writer:
        for table in _merged(_whole_classes(ended()), drops):
            if (twice := first_repeated(table)) is not None:
                raise InputError(
                    f"{twice!r} is in the captions file and among the drops beside it, so they are not of one run; "
                    "clean again"
                )
            if len(table):
                writer.write_table(table.sort_by(_ORDER))


def first_repeated(outcomes: pa.Table) -> str | None:
    """Return the first id that has more than one outcome, or None; further entries of an id have one of their own."""
    own = pc.not_equal(outcomes["outcome"], Outcome.DUPLICATE_ID.value)
    ids, counts = outcomes.filter(own)["image_id"].drop_null().value_counts().flatten()
    repeated = ids.filter(pc.greater(counts, 1))
    return str(pc.min(repeated)) if len(repeated) else None


def _merged(rows: Iterable[pa.Table], drops: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield both together, in tables that end with a class; outcomes without a class come last."""
    rest = OUTCOMES.empty_table()  # of the drops
    for table in rows:
        parts = [table]
        while True:
            # Nulls are sorted last, and comparing them is never true.
            inside = pc.sum(pc.less_equal(rest["wnid"], table["wnid"][-1])).as_py() or 0
            parts.append(rest.slice(0, inside))
            rest = rest.slice(inside)
            if len(rest) or (more := next(drops, None)) is None:
                break
            rest = more
        yield pa.concat_tables(parts)
    yield from chain([rest], drops)


def _whole_classes(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held = OUTCOMES.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        if len(held) >= OUTCOMES_AT_ONCE:
            held = held.combine_chunks()
            last = pc.index(held["wnid"], held["wnid"][-1]).as_py()
            if last:
                yield held.slice(0, last)
            held = held.slice(last)
    if len(held):
        yield held.combine_chunks()
