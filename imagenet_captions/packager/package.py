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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagenet_captions.dataset.card import DatasetFacts
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.dataset.settings import PackageSettings
from imagenet_captions.dataset.shards import NEVER_NULL, Shards
from imagenet_captions.dataset.writing import (
    TEXTS,
    RowGroup,
    ShardFile,
    count_values,
    dataset_schema,
    finish_dataset,
    first_repeated,
    local_labels,
    outcome_table,
    plan_groups,
    plan_shards,
    shard_name,
    with_local_labels,
    write_outcomes,
)
from imagenet_captions.dataset.writing import write_shard as write_tables
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles, image_column
from imagenet_captions.images.sources import Located, locate
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome, outcomes_path
from imagenet_captions.schema import CAPTIONS, RAW_ROW, ROW, provenance
from imagenet_captions.storage.files import CARD, MANIFEST, require_file, scratch_beside, sha256, walk
from imagenet_captions.storage.outputs import producing_folder
from imagenet_captions.storage.parquet import (
    TEXT_ROWS,
    ParquetFile,
    RowReader,
    read_batches,
    read_files,
    read_metadata,
    read_schema,
    read_table,
)
from imagenet_captions.storage.places import Place, PlaceLike, place
from imagenet_captions.storage.progress import progress

log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 20_000  # of a few short columns


def package(captions: Place, out: Place, settings: PackageSettings) -> DatasetFacts:
    """Write the dataset folder `out`, whole or not at all.

    The same captions and images give the same bytes, wherever `out` is and however many workers there are. A folder
    that already is a dataset of ours is replaced.

    Raises InputError for bad input and for a full disk; `out` is unchanged then.
    """
    with producing_folder(out, [captions, settings.images]) as folder:
        classes, made = _check_captions(captions)
        with scratch_beside(folder / "rows") as scratch:
            located = None
            if settings.images is not None:
                located = _locate(captions, settings.images, settings.missing, scratch)
            shards = list(_write_shards(captions, folder, classes, made, located, settings))
        missing = Outcome.NO_IMAGE if settings.missing == "skip" else Outcome.KEPT
        ends = {} if located is None else {row: (missing, remark) for row, remark in located.remarks.items()}
        faults = {row: fault for shard in shards for row, fault in shard.faults.items()}
        if faults and settings.missing == "fail":
            first = min(faults)
            with closing(RowReader([(0, captions)], ["image_id"])) as reader:
                image_id = reader.take(np.array([first]))["image_id"][0]
            raise InputError(
                f"{len(faults):,} images cannot be used, the first is that of {image_id}: {faults[first]}; "
                "replace them, or choose `missing` report or skip"
            )
        ends |= {row: (Outcome.BROKEN_IMAGE, fault) for row, fault in faults.items()}

        def outcomes() -> Iterator[pa.Table]:
            start = 0
            for batch in read_files([captions], _ROWS_AT_ONCE, ["image_id", "wnid", "detail"]):
                yield outcome_table(batch, start, ends)
                start += len(batch)

        earlier = read_files([outcomes_path(captions)], _ROWS_AT_ONCE)
        write_outcomes(folder / OUTCOMES_FILE, outcomes(), earlier)
        recorded = {
            **made.get("settings", {}),
            "language": made.get("language"),
            "missing": None if located is None else settings.missing,
        }
        files = [shard.file for shard in shards]
        return finish_dataset(folder, files, made.get("inputs", {}), recorded, made.get("measured", {}))


def _check_captions(captions: Place) -> tuple[list[tuple[str, int]], Mapping[str, Any]]:
    """Return the classes in the order of the rows, each with its number of rows, and the provenance of a captions file.

    Raises InputError for another file, and for one whose ids do not ascend.
    """
    require_file(captions, "the captions file")
    require_file(outcomes_path(captions), "the file of drops beside the captions")
    classes: list[tuple[str, int]] = []
    last = ""
    with ParquetFile(captions) as opened:
        if opened.schema_arrow.names != CAPTIONS.names:
            raise InputError(f"{captions} is not a captions file; give what `imagenet-captions clean` wrote")
        for batch in read_batches(opened, _ROWS_AT_ONCE, ["image_id", "wnid"]):
            ids = pa.concat_arrays([pa.array([last]), batch["image_id"]])
            if not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
                raise InputError(f"{captions} is not sorted by image id, or has one twice; clean again")
            last = ids[-1].as_py()
            classes += count_values(batch["wnid"]).items()
        return classes, provenance(opened.schema_arrow)


def _locate(captions: Place, images: Place, missing: str, scratch: Path) -> Located:
    rows = read_table(captions, ["image_id", "wnid", "photo_id"])
    located = locate(rows, images, scratch)
    if len(rows) and not any(located.ranges):
        log.warning("none of the rows has an image in %s; check the path, or leave `images` out", images)
    if located.remarks and missing == "fail":
        first = min(located.remarks)
        raise InputError(
            f"{len(located.remarks):,} of {len(rows):,} rows have no image, the first is {rows['image_id'][first]}: "
            f"{located.remarks[first]}; add the images, or choose `missing` report or skip"
        )
    return located


@dataclass(frozen=True)
class ShardJob:
    """The input of a worker that writes a shard."""

    captions: Place
    folder: Place  # of the dataset being built
    name: str  # data/train-00000-of-00012.parquet
    raw: bool  # texts as the source gave them
    groups: Sequence[RowGroup]  # one row group each
    ranges: Sequence[ByteRange | None] | None  # of all rows of the groups; None: no image column
    dropped: frozenset[int]  # rows of the captions file that are left out
    classes: ClassSet


@dataclass(frozen=True)
class Shard:
    """A written shard, and the rows left out of it."""

    file: ShardFile
    faults: Mapping[int, str]  # rows of the captions file with a broken image


def _write_shards(
    captions: Place,
    folder: Place,
    classes: Sequence[tuple[str, int]],
    made: Mapping[str, Any],
    located: Located | None,
    settings: PackageSettings,
) -> Iterator[Shard]:
    """Write both configs; `raw` leaves out the rows whose images prove broken while `default` is written."""

    def wnids() -> Iterator[str]:
        return chain.from_iterable(repeat(wnid, count) for wnid, count in classes)

    metadata = read_metadata(captions)
    rows = metadata.num_rows
    total = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    text = max(1, int(total) // max(1, 2 * rows))  # the captions file has the texts twice, a config has them once
    dropped = frozenset(located.remarks) if located and settings.missing == "skip" else frozenset()
    texts = groups = plan_groups(wnids(), repeat(text, rows), TEXT_ROWS)
    if located is not None:
        sizes = [text + part.size if part else text for part in located.ranges]
        for row in dropped:
            sizes[row] = 0
        groups = plan_groups(wnids(), sizes)
    plans = {False: plan_shards(groups), True: plan_shards(texts)}
    among, written = ClassSet.recorded(made.get("settings", {})), 0
    with progress("package", rows - len(dropped), "rows") as bar:
        # Without images both configs are written together, because no row is left out.
        for configs in ((False, True),) if located is None else ((False,), (True,)):
            jobs = []
            for raw in configs:
                for number, part in enumerate(plans[raw]):
                    start, stop = (part[0].start, part[-1].stop) if part else (0, 0)
                    name = shard_name(raw, number, len(plans[raw]))
                    ranges = None if raw or located is None else located.ranges[start:stop]
                    here = dropped.intersection(range(start, stop))
                    jobs.append(ShardJob(captions, folder, name, raw, part, ranges, here, among))
            workers = min(settings.workers, len(jobs))
            for shard in settings.engine.run(write_shard, jobs, workers, threads=True):
                dropped |= shard.faults.keys()
                written += shard.file.rows
                bar.update(written // 2 - bar.n)  # both configs have each row
                yield shard


def write_shard(job: ShardJob) -> Shard:
    """Write a shard; rows with a broken image are left out and reported."""
    row = RAW_ROW if job.raw else ROW
    faults: dict[int, str] = {}
    schema = dataset_schema(row, job.ranges is not None, job.classes)
    tables = _tables(job, row.names, faults)
    return Shard(write_tables(job.folder, job.name, schema, tables), faults)


def _tables(job: ShardJob, names: Sequence[str], faults: dict[int, str]) -> Iterator[pa.Table]:
    """Yield the row groups and add the faults found in them; the next one is read while one is written."""
    columns = ["raw_" + name if job.raw and name in TEXTS else name for name in names]
    with closing(RowReader([(0, job.captions)], columns)) as rows, closing(OpenFiles()) as images:
        first = job.groups[0].start if job.groups else 0

        def read(group: RowGroup) -> pa.Table:
            table = rows.take(np.arange(group.start, group.stop)).rename_columns(list(names))
            out = job.dropped
            if job.ranges is not None:
                ranges = job.ranges[group.start - first : group.stop - first]
                data, found = images.read_images(ranges)
                table = table.append_column("image", image_column(data, table["filename"]))
                faults.update((group.start + at, fault) for at, fault in found.items())
                out |= {group.start + at for at in found}
            if out:
                kept = [at not in out for at in range(group.start, group.stop)]
                table = table.filter(pa.array(kept))
            return table

        with ThreadPoolExecutor(1) as ahead:
            upcoming = None
            for group in job.groups:
                current, upcoming = upcoming, ahead.submit(read, group)
                if current is not None:
                    yield current.result()
            if upcoming is not None:
                yield upcoming.result()


_REQUIRED = frozenset({CARD, OUTCOMES_FILE})  # datasets of before November 2026 have no description


@dataclass(frozen=True)
class Verified:
    """The size of a dataset that was found whole."""

    files: int
    rows: int
    images: int | None

    def __str__(self) -> str:
        images = "" if self.images is None else f", {self.images:,} images"
        return f"whole: {self.files} files, {self.rows:,} rows{images}"


def verify(dataset: PlaceLike) -> Verified:
    """Read every byte of a dataset again and compare: hashes, schema, order, ids of both configs, outcomes.

        ic.verify("imagenet-captions").rows

    Raises InputError that names the first bad file and how many there are.
    """
    shards = Shards(place(dataset))
    problems = list(_damaged(shards)) or list(_contradictions(shards))
    if problems:
        file, what = problems[0]
        others = len({name for name, _ in problems} - {file})
        more = f", and {others} more files are bad" if others else ""
        raise InputError(f"{shards.dataset} is damaged: {file} {what}{more}; package it again")
    return Verified(len(shards.manifest.files), shards.rows, shards.manifest.images)


def _damaged(shards: Shards) -> Iterator[tuple[str, str]]:
    """Yield files that are not as they were written or do not belong there, each with what is wrong.

    `load_dataset` would take another Parquet file in data/ for a shard.
    """
    dataset, files = shards.dataset, shards.manifest.files
    for name in sorted(_REQUIRED - files.keys()):
        yield MANIFEST, f"does not list {name}"
    for _, name in walk(dataset):
        inside = name.startswith(("data/", "raw/")) or name.endswith(".parquet")
        if inside and name not in files:
            yield name, "is not in the manifest"
    with progress("verify", sum(entry.bytes for entry in files.values()), "B") as bar:
        for name, entry in sorted(files.items()):
            path = dataset / name
            if not path.is_file():
                yield name, "is missing"
            elif (size := path.stat().st_size) != entry.bytes:
                yield name, f"has {size:,} bytes, not {entry.bytes:,}"
            elif sha256(path) != entry.sha256:
                yield name, "has other bytes than when it was written"
            bar.update(entry.bytes)


def _null_columns(metadata: pq.FileMetaData) -> set[str]:
    """Return the columns of a shard that have nulls, as its statistics count them."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = [group.column(at) for group in groups for at in range(metadata.num_columns)]
    return {each.path_in_schema for each in columns if each.statistics and each.statistics.null_count}


def _contradictions(shards: Shards) -> Iterator[tuple[str, str]]:
    """Yield contradictions between files whose bytes are all as they were written."""
    manifest = shards.manifest
    images, seed = manifest.images is not None, manifest.shuffled
    ids = {}
    for config, row in (("data", ROW), ("raw", RAW_ROW)):
        names, tables = manifest.shards(config), []
        for name, rows in names.items():
            found = read_schema(shards.dataset / name)
            schema = dataset_schema(row, images and config == "data", manifest.classes)
            if (local := local_labels(found)) is not None:
                schema = with_local_labels(schema, local)
            if not found.equals(schema) or found.metadata != schema.metadata:
                yield name, "has another schema than this version writes"
                return
            table = read_table(shards.dataset / name, columns=["image_id", "tags"])
            nulls = _null_columns(read_metadata(shards.dataset / name))
            if table["tags"].null_count:  # statistics count empty lists too
                nulls.add("tags")
            for column in sorted(nulls & NEVER_NULL):
                yield name, f"has nulls in {column}"
            tables.append(table.select(["image_id"]))
            if len(tables[-1]) != rows:
                yield name, "has another number of rows than the manifest says"
        found_ids = ids[config] = pa.concat_tables(tables)["image_id"].combine_chunks()
        if seed is None:
            if len(found_ids) > 1 and not pc.all(pc.less(found_ids[:-1], found_ids[1:])).as_py():
                yield next(iter(names)), "and its other shards are not sorted by image id"
        elif not np.array_equal(seeded_order(found_ids.to_pylist(), seed), np.arange(len(found_ids))):
            yield next(iter(names)), f"and its other shards are not in the order of the seed {seed}"
    if not ids["data"].equals(ids["raw"]):
        yield "raw/", "has other ids than data/"
    outcomes = read_table(shards.outcomes)
    if outcomes.schema.names != OUTCOMES.names:
        yield OUTCOMES_FILE, "has other columns than this version writes"
        return
    if (twice := first_repeated(outcomes)) is not None:
        yield OUTCOMES_FILE, f"has two outcomes for {quoted(twice)}"
    kept = outcomes.filter(pc.equal(outcomes["outcome"], Outcome.KEPT.value))["image_id"].combine_chunks()
    if not kept.equals(ids["data"] if seed is None else ids["data"].take(pc.sort_indices(ids["data"]))):
        yield OUTCOMES_FILE, "keeps other ids than data/ has"
    counted = outcomes.group_by("outcome").aggregate([("count", "sum")])
    if dict(zip(counted["outcome"].to_pylist(), counted["count_sum"].to_pylist(), strict=True)) != manifest.counts:
        yield OUTCOMES_FILE, "has other counts than the manifest"
