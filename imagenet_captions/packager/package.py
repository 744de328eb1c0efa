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

from imagenet_captions.dataset.card import DatasetFacts
from imagenet_captions.dataset.outcomes import outcome_table, write_outcomes
from imagenet_captions.dataset.writing import (
    TEXTS,
    RowGroup,
    ShardFile,
    dataset_schema,
    finish_dataset,
    plan_groups,
    plan_shards,
    shard_name,
)
from imagenet_captions.dataset.writing import write_shard as write_tables
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.reading import OpenFiles, image_column
from imagenet_captions.images.sources import Located, locate
from imagenet_captions.outcomes import OUTCOMES_FILE, Outcome, outcomes_path
from imagenet_captions.packager.settings import PackageSettings
from imagenet_captions.schema import CAPTIONS, RAW_ROW, ROW, provenance
from imagenet_captions.storage.files import require_file, scratch_beside
from imagenet_captions.storage.outputs import producing_folder
from imagenet_captions.storage.parquet import (
    TEXT_ROWS,
    ParquetFile,
    RowReader,
    read_batches,
    read_files,
    read_metadata,
    read_table,
)
from imagenet_captions.storage.places import Place
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
                image_id = reader.read(first, first + 1)["image_id"][0]
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
            wnids, counts = batch["wnid"].value_counts().flatten()
            classes += zip(wnids.to_pylist(), counts.to_pylist(), strict=True)
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
    ranges: Sequence[ByteRange | None] | None  # of the rows from the first group's start on; None: no image column
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
        sizes = [0 if row in dropped else text + (part.size if part else 0) for row, part in enumerate(located.ranges)]
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
            for shard in settings.engine.run(write_shard, jobs, min(settings.workers, len(jobs)), threads=True):
                dropped |= shard.faults.keys()
                written += shard.file.rows
                bar.update(written // 2 - bar.n)  # both configs have each row
                yield shard


def write_shard(job: ShardJob) -> Shard:
    """Write a shard; rows with a broken image are left out and reported."""
    row = RAW_ROW if job.raw else ROW
    faults: dict[int, str] = {}
    schema = dataset_schema(row, job.ranges is not None, job.classes)
    return Shard(write_tables(job.folder, job.name, schema, _tables(job, row.names, faults)), faults)


def _tables(job: ShardJob, names: Sequence[str], faults: dict[int, str]) -> Iterator[pa.Table]:
    """Yield the row groups and add the faults found in them; the next one is read while one is written."""
    columns = ["raw_" + name if job.raw and name in TEXTS else name for name in names]
    with closing(RowReader([(0, job.captions)], columns)) as rows, closing(OpenFiles()) as images:
        first = job.groups[0].start if job.groups else 0

        def read(group: RowGroup) -> pa.Table:
            table, out = rows.read(group.start, group.stop).rename_columns(list(names)), job.dropped
            if job.ranges is not None:
                data, found = images.read_images(job.ranges[group.start - first : group.stop - first])
                table = table.append_column("image", image_column(data, table["filename"]))
                faults.update((group.start + at, fault) for at, fault in found.items())
                out |= {group.start + at for at in found}
            if out:
                table = table.filter(pa.array([at not in out for at in range(group.start, group.stop)]))
            return table

        with ThreadPoolExecutor(1) as ahead:
            upcoming = None
            for group in job.groups:
                current, upcoming = upcoming, ahead.submit(read, group)
                if current is not None:
                    yield current.result()
            if upcoming is not None:
                yield upcoming.result()
