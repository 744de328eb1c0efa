"""The stage `package`: writes captions and images as a dataset folder that `load_dataset` reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.facts import Origin, ShardFile
from imagenet_captions.dataset.outcomes import outcome_table, write_outcomes
from imagenet_captions.dataset.writing import (
    TEXTS,
    RowGroup,
    dataset_schema,
    finish_dataset,
    open_shard,
    plan_groups,
    plan_shards,
    shard_name,
)
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles, image_column
from imagenet_captions.images.sources import Located, locate
from imagenet_captions.outcomes import OUTCOMES_FILE, Outcome, outcomes_path
from imagenet_captions.packager.settings import PackageSettings
from imagenet_captions.schema import CAPTIONS, RAW_ROW, ROW, provenance
from imagenet_captions.storage.files import require_file, scratch_beside
from imagenet_captions.storage.outputs import check_dataset_output, holding, replacing_folder
from imagenet_captions.storage.parquet import (
    TEXT_ROWS,
    RowReader,
    parquet_file,
    read_batches,
    read_files,
    read_metadata,
    read_table,
)
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress

log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 20_000  # of a few short columns


@dataclass(frozen=True)
class Packaged:
    """The result of `package`: the inputs by outcome, and the kept rows with and without an image."""

    outcomes: Mapping[Outcome, int]
    images: int
    missing: int


def package(captions: Place, out: Place, settings: PackageSettings) -> Packaged:
    """Write the dataset folder `out`, whole or not at all.

    The same captions and images give the same bytes, wherever `out` is and however many workers there are. A folder
    that already is a dataset of ours is replaced.

    Raises InputError for bad input and for a full disk; `out` is unchanged then.
    """
    check_dataset_output(out, [captions, settings.images])
    with holding([out]):
        rows = _read_rows(captions)
        with replacing_folder(out) as folder:
            with scratch_beside(folder / "rows") as scratch:
                plan = _plan(rows, folder, settings, scratch)
                shards = list(_write_shards(plan, settings))
            return _finish(plan, folder, shards, settings)


@dataclass(frozen=True)
class _Captions:
    """The part of a captions file that is kept in memory; it may have millions of rows."""

    path: Place
    rows: int
    classes: Sequence[tuple[str, int]]  # wnid and number of rows, in the order of the rows
    made: Mapping[str, Any]  # provenance

    def wnids(self) -> Iterator[str]:
        """Yield the wnid of every row."""
        return chain.from_iterable(repeat(wnid, count) for wnid, count in self.classes)


@dataclass(frozen=True)
class _Plan:
    captions: _Captions
    folder: Place
    located: Located | None
    skipped: frozenset[int]
    shards: list[list[RowGroup]]
    text_shards: list[list[RowGroup]]

    def jobs(self, raw: bool, dropped: frozenset[int]) -> Iterator[ShardJob]:
        """Yield the shards of one config."""
        located = None if raw else self.located
        shards = self.text_shards if raw else self.shards
        classes = ClassSet.recorded(self.captions.made.get("settings", {}))
        for number, groups in enumerate(shards):
            start, stop = (groups[0].start, groups[-1].stop) if groups else (0, 0)
            name = shard_name(raw, number, len(shards))
            ranges = None if located is None else located.ranges[start:stop]
            here = dropped.intersection(range(start, stop))
            yield ShardJob(self.captions.path, self.folder, name, raw, groups, ranges, here, classes)


def _read_rows(captions: Place) -> _Captions:
    require_file(captions, "the captions file")
    require_file(outcomes_path(captions), "the file of drops beside the captions")
    found: list[tuple[str, int]] = []
    last = ""
    with parquet_file(captions) as opened:
        if opened.schema_arrow.names != CAPTIONS.names:
            raise InputError(f"{captions} is not a captions file; give what `imagenet-captions clean` wrote")
        for batch in read_batches(opened, _ROWS_AT_ONCE, ["image_id", "wnid"]):
            ids = pa.concat_arrays([pa.array([last]), batch["image_id"]])
            if not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
                raise InputError(f"{captions} is not sorted by image id, or has one twice; clean again")
            last = ids[-1].as_py()
            counted = batch["wnid"].value_counts()
            found += zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
        return _Captions(captions, opened.metadata.num_rows, found, provenance(opened.schema_arrow))


def _plan(captions: _Captions, folder: Place, settings: PackageSettings, scratch: Path) -> _Plan:
    located = None if settings.images is None else _located(captions, settings.images, settings.missing, scratch)
    skipped = frozenset(located.missing if located and settings.missing == "skip" else ())
    text = _text_bytes(captions.path, captions.rows)
    texts = plan_groups(captions.wnids(), repeat(text, captions.rows), TEXT_ROWS)
    groups = texts
    if located is not None:
        sizes = [0 if row in skipped else text + (part.size if part else 0) for row, part in enumerate(located.ranges)]
        groups = plan_groups(captions.wnids(), sizes)
    return _Plan(captions, folder, located, skipped, plan_shards(groups), plan_shards(texts))


def _located(captions: _Captions, images: Place, missing: str, scratch: Path) -> Located:
    rows = read_table(captions.path, columns=["image_id", "wnid", "photo_id"])
    located = locate(rows, images, scratch)
    if len(rows) and not any(located.ranges):
        log.warning("none of the rows has an image in %s; check the path, or leave `images` out", images)
    if located.missing and missing == "fail":
        first = located.missing[0]
        raise InputError(
            f"{len(located.missing):,} of {len(rows):,} rows have no image, the first is {rows['image_id'][first]}: "
            f"{located.remarks[first]}; add the images, or choose `missing` report or skip"
        )
    return located


def _text_bytes(captions: Place, rows: int) -> int:
    metadata = read_metadata(captions)
    total = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    return max(1, int(total) // max(1, 2 * rows))  # the captions file has the texts twice, a config has them once


def _write_shards(plan: _Plan, settings: PackageSettings) -> Iterator[Shard]:
    """Write both configs; `raw` leaves out the rows whose images prove broken while `default` is written."""
    with progress("package", plan.captions.rows - len(plan.skipped), "rows") as bar:
        dropped, written = plan.skipped, 0
        # Without images both configs are written together, because no row is left out.
        for configs in ((False, True),) if plan.located is None else ((False,), (True,)):
            jobs = [job for raw in configs for job in plan.jobs(raw, dropped)]
            workers = min(settings.workers, max(1, len(jobs)))
            for shard in settings.engine.run(write_shard, jobs, workers, threads=True):
                dropped |= shard.faults.keys()
                written += shard.file.rows
                bar.update(written // 2 - bar.n)  # both configs have each row
                yield shard


def _finish(plan: _Plan, folder: Place, shards: Sequence[Shard], settings: PackageSettings) -> Packaged:
    captions, made = plan.captions.path, plan.captions.made
    faults = {row: fault for shard in shards for row, fault in shard.faults.items()}
    if faults and settings.missing == "fail":
        first = min(faults)
        with closing(RowReader([(0, captions)], ["image_id"])) as reader:
            image_id = reader.read(first, first + 1)["image_id"][0]
        raise InputError(
            f"{len(faults):,} images cannot be used, the first is that of {image_id}: {faults[first]}; replace them, "
            "or choose `missing` report or skip"
        )
    dropped = {row: (Outcome.BROKEN_IMAGE, fault) for row, fault in faults.items()}
    remarks = dict(plan.located.remarks) if plan.located else {}
    dropped |= {row: (Outcome.NO_IMAGE, remarks.pop(row)) for row in plan.skipped}

    def ended() -> Iterator[pa.Table]:
        start = 0
        for batch in read_files([captions], _ROWS_AT_ONCE, ["image_id", "wnid", "detail"]):
            yield outcome_table(batch, start, remarks, dropped)
            start += len(batch)

    write_outcomes(folder / OUTCOMES_FILE, ended(), read_files([outcomes_path(captions)], _ROWS_AT_ONCE))
    has_images = plan.located is not None
    recorded = {
        **made.get("settings", {}),
        "language": made.get("language"),
        "missing": settings.missing if has_images else None,
    }
    origin = Origin(made.get("inputs", {}), recorded, made.get("measured", {}))
    facts = finish_dataset(folder, [shard.file for shard in shards], origin, has_images)
    return Packaged(facts.funnel, facts.images or 0, facts.rows - (facts.images or 0) if has_images else 0)


@dataclass(frozen=True)
class ShardJob:
    """The input of a worker that writes a shard."""

    captions: Place
    folder: Place  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    raw: bool  # texts as the source gave them
    groups: Sequence[RowGroup]  # one row group each
    ranges: Sequence[ByteRange | None] | None  # of the rows from the first group's start on; None: no image column
    dropped: frozenset[int]  # rows of the captions file that are left out
    classes: ClassSet


@dataclass(frozen=True)
class Shard:
    """A written shard, and the rows left out of it."""

    file: ShardFile
    faults: Mapping[int, str]  # rows of the captions file with a broken image


def write_shard(job: ShardJob) -> Shard:
    """Write a shard; rows with a broken image are left out and reported."""
    row = RAW_ROW if job.raw else ROW
    all_faults: dict[int, str] = {}
    schema = dataset_schema(row, job.ranges is not None, job.classes)
    with open_shard(job.folder, job.name, schema) as writer:
        for table, faults in _tables(job, row):
            all_faults |= faults
            writer.write(table)
    return Shard(writer.file, all_faults)


def _tables(job: ShardJob, row: pa.Schema) -> Iterator[tuple[pa.Table, dict[int, str]]]:
    """Yield the row groups, with the faults found in each; the next one is read while one is written."""
    columns = {("raw_" + name if job.raw and name in TEXTS else name): name for name in row.names}
    with closing(RowReader([(0, job.captions)], list(columns))) as rows, closing(OpenFiles()) as images:
        first = job.groups[0].start if job.groups else 0

        def read(group: RowGroup) -> tuple[pa.Table, dict[int, str]]:
            table = rows.read(group.start, group.stop).rename_columns(list(columns.values()))
            faults: dict[int, str] = {}
            if job.ranges is not None:
                data, faults = images.read_images(job.ranges[group.start - first : group.stop - first])
                table = table.append_column("image", image_column(data, table["filename"]))
            out = job.dropped.intersection(range(group.start, group.stop)).union(group.start + at for at in faults)
            if out:
                table = table.filter(pa.array([at not in out for at in range(group.start, group.stop)]))
            return table, {group.start + at: fault for at, fault in faults.items()}

        with ThreadPoolExecutor(1) as ahead:
            upcoming = None
            for group in job.groups:
                current, upcoming = upcoming, ahead.submit(read, group)
                if current is not None:
                    yield current.result()
            if upcoming is not None:
                yield upcoming.result()
