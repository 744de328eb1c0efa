"""Filtering a dataset: to a list of ids, or to a smaller dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.facts import Origin, ShardFile
from imagenet_captions.dataset.manifest import Manifest, read_manifest, unchanged
from imagenet_captions.dataset.outcomes import write_outcomes
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.dataset.selecting import DENIED, STEPS, Ends, Selection, select
from imagenet_captions.dataset.settings import FilterSettings
from imagenet_captions.dataset.writing import (
    RowGroup,
    finish_dataset,
    local_labels,
    open_shard,
    plan_groups,
    plan_shards,
    plan_shuffled,
    shard_name,
    with_local_labels,
    without_images,
)
from imagenet_captions.engines import local as engine
from imagenet_captions.errors import InputError
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles, image_column
from imagenet_captions.images.tables import byte_ranges_in_shards
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome
from imagenet_captions.storage.files import MANIFEST, sha256
from imagenet_captions.storage.outputs import (
    check_dataset_output,
    producing,
    record_path,
    replacing_folder,
    write_record,
)
from imagenet_captions.storage.parquet import TEXT_ROWS, RowReader, gather, read_files, read_metadata, read_schema
from imagenet_captions.storage.places import Place, PlaceLike, is_only_here, place
from imagenet_captions.storage.progress import progress

if TYPE_CHECKING:
    from pyarrow.compute import Expression


def filter(
    dataset: PlaceLike,
    keep: Expression | FilterSettings,
    *,
    out: PlaceLike | None = None,
    out_ids: PlaceLike | None = None,
    overwrite: bool = False,
    workers: int = 1,
) -> dict[str, int]:
    """Write the rows of a dataset that `keep` asks for: as a smaller dataset, or as a list of their ids.

        ic.filter("imagenet-captions", ic.in_class("dog") & ic.has("title"), out="dogs")
        some = ic.FilterSettings(condition=ic.in_class("dog"), per_class=50)
        ic.filter("imagenet-captions", some, out_ids="some-dogs.txt")

    `out` is a dataset folder; an existing dataset is replaced. `out_ids` is a text file with one id per line; its
    record is written beside it, and `overwrite` allows replacing a file that exists. Several `workers`
    are processes, so a script has to call this function under `if __name__ == "__main__":`.

    Returns the number of rows kept, and of those left out by each step. Raises InputError if no row is left.
    """
    if not isinstance(keep, (FilterSettings, pc.Expression)):
        raise InputError(f"`keep` must be a condition such as `in_class('dog')`, or FilterSettings, not {keep!r:.80}")
    settings = keep if isinstance(keep, FilterSettings) else FilterSettings(condition=keep)
    if out is not None and out_ids is None and not overwrite:
        return filter_to_dataset(place(dataset), place(out), settings, engine.check_workers(workers))
    if out_ids is not None and out is None and workers == 1:
        return filter_to_ids(place(dataset), place(out_ids), settings, overwrite)
    raise InputError(
        "a filter writes one thing; give `out` for a dataset, with `workers` if need be, or `out_ids` for a list of "
        "ids, with `overwrite` if need be"
    )


def filter_to_ids(dataset: Place, out: Place, settings: FilterSettings, overwrite: bool = False) -> dict[str, int]:
    """Write the ids that a filter keeps, sorted, one per line, and beside them OUT.json with the filter.

    Returns the number of rows kept, and of those left out by each step.
    """
    for name in ("local_labels", "without_images", "shuffle"):
        if (value := getattr(settings, name)) is not None and value is not False:
            raise InputError(f"`{name}` needs `out`; a list of ids is sorted, without labels and images")
    inputs = [dataset, *settings.files()]
    with producing([out], inputs, overwrite, [record_path(out)]) as (record, ids_file), unchanged(dataset):
        selection = select(dataset, settings)
        shuffled = read_manifest(dataset).shuffled is not None
        with ids_file.open("w", encoding="utf-8", newline="") as opened:
            kept = (image_id for ids in selection.kept_ids() for image_id in ids.to_pylist())
            opened.writelines(f"{image_id}\n" for image_id in (sorted(kept) if shuffled else kept))
        counts = selection.counts()
        about = {"parent": sha256(dataset / MANIFEST), "filter": settings.as_given(), "counts": counts}
        write_record(record, {out.name: (sha256(ids_file), ids_file.stat().st_size)}, about)
    return counts


def filter_to_dataset(dataset: Place, out: Place, settings: FilterSettings, workers: int) -> dict[str, int]:
    """Write the rows that a filter keeps as a dataset folder, as a whole or not at all.

    Its manifest names the parent by the SHA-256 of the parent's manifest. Its outcomes are those of the parent; rows
    that were left out are `filtered`. Returns the number of rows kept, and of those left out by each step.
    """
    check_dataset_output(out, [dataset, *settings.files()])
    with replacing_folder(out) as folder, unchanged(dataset):
        parent = read_manifest(dataset)
        if settings.without_images and parent.images is None:
            raise InputError(f"{dataset} has no images; leave out `without_images`")
        selection = select(dataset, settings)
        child = Child(dataset, folder, parent, selection, settings)
        jobs = [*child.jobs(raw=False), *child.jobs(raw=True)]
        shards = list(_written(jobs, selection.kept, workers))
        _write_outcomes(dataset, folder, selection, parent.shuffled is not None)
        images = parent.images is not None and not settings.without_images
        recorded = {**parent.settings, "filter": [*parent.settings.get("filter", []), settings.as_given()]}
        if not images:
            recorded["missing"] = None
        inputs = {**parent.inputs, "parent": sha256(dataset / MANIFEST)}
        finish_dataset(folder, shards, Origin(inputs, recorded, parent.measured), images)
    return selection.counts()


_ROWS_AT_ONCE = 20_000  # of a few short columns
_OUTCOMES = [Outcome.KEPT.value, Outcome.DENIED.value, Outcome.FILTERED.value]
_WHY = [None, None, *STEPS[DENIED + 1 :]]  # the denylist has the reason


def _written(jobs: list[CopyJob], rows: int, workers: int) -> Iterator[ShardFile]:
    written = 0
    with progress("write", rows, "rows") as bar:
        alone = any(is_only_here(path) for job in jobs[:1] for path in (job.folder, job.parents[0].path))
        for shard in engine.run(copy_shard, jobs, min(workers, len(jobs)), threads=alone):
            written += shard.rows
            bar.update(written // 2 - bar.n)  # both configs have each row
            yield shard


def _write_outcomes(dataset: Place, folder: Place, selection: Selection, shuffled: bool) -> None:
    """Write the outcomes of the parent, changed for the rows that were left out; outcomes are sorted by id."""
    parent = [dataset / OUTCOMES_FILE]
    rows = _ended(read_files(parent, _ROWS_AT_ONCE), *(selection.by_id() if shuffled else selection.by_row()))
    others = (batch.filter(pc.invert(_was_kept(batch))) for batch in read_files(parent, _ROWS_AT_ONCE))
    write_outcomes(folder / OUTCOMES_FILE, rows, others)


def _ended(batches: Iterable[pa.RecordBatch], ended: Ends, denied: Mapping[int, str]) -> Iterator[pa.Table]:
    """Yield the outcomes of the parent's rows, in their order."""
    start = 0
    for batch in batches:
        rows = batch.filter(_was_kept(batch))
        codes = ended[start : start + len(rows)]
        kinds = pa.array(_OUTCOMES).take(pa.array(np.minimum(codes, DENIED + 1)))
        reasons = pa.array(_WHY).take(pa.array(codes)).to_pylist()
        for row in np.flatnonzero(codes == DENIED):
            reasons[row] = denied[start + int(row)]
        details = [
            "; ".join(part for part in both if part) or None
            for both in zip(rows["detail"].to_pylist(), reasons, strict=True)
        ]
        start += len(rows)
        yield pa.table([rows["image_id"], rows["wnid"], kinds, details, rows["count"]], schema=OUTCOMES)


def _was_kept(batch: pa.RecordBatch) -> pa.Array:
    return pc.equal(batch["outcome"], Outcome.KEPT.value)


def format_counts(counts: Mapping[str, Any]) -> str:
    """Return the numbers of rows kept and left out, as a text table.

    >>> print(format_counts({"kept": 12, "condition": 1200}))
    kept                      12
    left out by condition  1,200
    """
    lines = {"kept" if name == "kept" else f"left out by {name}": count for name, count in counts.items()}
    width, digits = max(map(len, lines)), max(len(f"{count:,}") for count in lines.values())
    return "\n".join(f"{name:<{width}}  {count:>{digits},}" for name, count in lines.items())


@dataclass(frozen=True)
class Child:
    """A dataset that is being written from another one.

    Its rows are in the parent's order, or in the order of a seed, for which each is looked up in the parent.
    """

    dataset: Place
    folder: Place
    parent: Manifest
    selection: Selection
    settings: FilterSettings

    def jobs(self, raw: bool) -> Iterator[CopyJob]:
        """Yield the shards of one config."""
        parents = parent_shards(self.dataset, self.parent.shards("raw" if raw else "data"))
        before = read_schema(parents[0].path)
        schema = self._schema(before)
        images = "image" in schema.names
        columns = [name for name in before.names if name != "image" or (images and not self._reordered)]
        sizes = row_sizes(parents, self._rows, images)
        ranges = self._ranges(parents) if images and self._reordered else None
        shards = self._plan(list(map(int, sizes)), images)
        for number, groups in enumerate(shards):
            name, part = shard_name(raw, number, len(shards)), slice(groups[0].start, groups[-1].stop)
            rows = self._rows[part]
            needed = parents if self._reordered else [parent for parent in parents if parent.has_any(rows)]
            found = None if ranges is None else ranges[part]
            yield CopyJob(needed, self.folder, name, schema, columns, groups, rows, self._reordered, found)

    @property
    def _reordered(self) -> bool:
        return self.settings.shuffle is not None

    @cached_property
    def _ids(self) -> list[str]:
        return [image_id for ids in self.selection.kept_ids() for image_id in ids.to_pylist()]

    @cached_property
    def _order(self) -> Rows:
        """The kept rows in the order of the child, counted among themselves."""
        if self.settings.shuffle is None:
            return np.arange(self.selection.kept)
        return seeded_order(self._ids, self.settings.shuffle)

    @cached_property
    def _rows(self) -> Rows:
        return self.selection.rows()[self._order]

    def _plan(self, sizes: list[int], images: bool) -> list[list[RowGroup]]:
        """Return the shards and their row groups: sorted rows as packaging has them, others over more shards."""
        if not self._reordered and self.parent.shuffled is None:
            counted = self.selection.classes().items()
            wnids = chain.from_iterable(repeat(wnid, count) for wnid, count in counted)
            return plan_shards(plan_groups(wnids, sizes, 1 if images else TEXT_ROWS))
        if (shards := self.settings.shards) is not None and shards > len(sizes):
            raise InputError(f"`shards` is {shards:,}, but only {len(sizes):,} rows are left; give at most so many")
        return plan_shuffled(sizes, shards, None if images else TEXT_ROWS)

    def _ranges(self, parents: list[ParentShard]) -> list[ByteRange | None]:
        """Return where the parent has the image of each row of the child."""
        found = byte_ranges_in_shards([parent.path for parent in parents])
        return [found.get(self._ids[row]) for row in self._order.tolist()]

    def _schema(self, parent: pa.Schema) -> pa.Schema:
        schema = without_images(parent) if self.settings.without_images and "image" in parent.names else parent
        # Labels that are already local would otherwise name classes without rows.
        local = self.settings.local_labels or local_labels(schema) is not None
        return with_local_labels(schema, sorted(self.selection.classes())) if local else schema


Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ParentShard:
    """A shard of one config of the parent, with the range of its row numbers."""

    path: Place
    start: int
    stop: int

    def has_any(self, rows: Rows) -> bool:
        """Return whether the shard has any of these row numbers, which are sorted."""
        return bool(np.searchsorted(rows, self.start) < np.searchsorted(rows, self.stop))


@dataclass(frozen=True)
class CopyJob:
    """The task of a worker: one shard to write."""

    parents: Sequence[ParentShard]  # that have its rows
    folder: Place  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    schema: pa.Schema
    columns: Sequence[str]  # to read from the parent
    groups: Sequence[RowGroup]  # ranges of all kept rows; each becomes a row group
    rows: Rows  # row numbers in the parent, from the start of the first group
    reordered: bool = False  # the rows do not ascend
    ranges: Sequence[ByteRange | None] | None = None  # of their images, if they do not and the dataset has images


def parent_shards(dataset: Place, rows: Mapping[str, int]) -> list[ParentShard]:
    """Return the shards of one config, given their names and numbers of rows."""
    stops = accumulate(rows.values())
    return [ParentShard(dataset / name, stop - rows[name], stop) for name, stop in zip(rows, stops, strict=True)]


def row_sizes(parents: Sequence[ParentShard], rows: Rows, images: bool) -> npt.NDArray[np.int64]:
    """Return the approximate size of each of these rows in bytes, with or without its image: the group's average."""
    stops, sizes = [0], [0]
    for parent in parents:
        metadata = read_metadata(parent.path)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            stops.append(stops[-1] + group.num_rows)
            size = group.total_byte_size if images else _text_bytes(group)
            sizes.append(max(1, size // max(1, group.num_rows)))
    return np.array(sizes, np.int64)[np.searchsorted(stops, rows, side="right")]


def _text_bytes(group: Any) -> int:
    columns = map(group.column, range(group.num_columns))
    return sum(column.total_uncompressed_size for column in columns if not column.path_in_schema.startswith("image."))


def copy_shard(job: CopyJob) -> ShardFile:
    """Write a shard and return its counts."""
    wnids = local_labels(job.schema)
    shards = [(shard.start, shard.path) for shard in job.parents]
    with open_shard(job.folder, job.name, job.schema) as writer:
        for table in _gathered(job, shards) if job.reordered else _copied(job, shards):
            writer.write((table if wnids is None else _relabelled(table, wnids)).select(job.schema.names))
    return writer.file


def _copied(job: CopyJob, shards: Sequence[tuple[int, Place]]) -> Iterator[pa.Table]:
    """Yield the row groups of rows that ascend."""
    with closing(RowReader(shards, job.columns)) as parents:
        for part in _parts(job):
            yield parents.take(job.rows[part])


def _gathered(job: CopyJob, shards: Sequence[tuple[int, Place]]) -> Iterator[pa.Table]:
    """Yield the row groups of rows from everywhere: the texts of the whole shard are held, the images of one group."""
    texts = gather(shards, job.rows, job.columns)
    with closing(OpenFiles()) as images:
        for part in _parts(job):
            table = texts.slice(part.start, part.stop - part.start)
            if job.ranges is not None:
                data, faults = images.read_images(job.ranges[part])
                for row, fault in faults.items():
                    raise InputError(f"the image {table['image_id'][row]} cannot be used ({fault}); package it again")
                table = table.append_column("image", image_column(data, table["filename"]))
            yield table


def _parts(job: CopyJob) -> Iterator[slice]:
    first = job.groups[0].start if job.groups else 0
    return (slice(group.start - first, group.stop - first) for group in job.groups)


def _relabelled(table: pa.Table, wnids: Sequence[str]) -> pa.Table:
    """Return the table with labels counted over these classes; an existing `label_original` stays."""
    if "label_original" not in table.column_names:
        table = table.append_column("label_original", table["label"])
    labels = pc.index_in(table["wnid"], pa.array(wnids, pa.string())).cast(pa.int64())
    return table.set_column(table.column_names.index("label"), "label", labels)
