"""The stage `package`: writes captions and images as a dataset folder that `load_dataset` reads."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset import writing
from imagenet_captions.dataset.card import DatasetFacts
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.dataset.settings import PackageSettings
from imagenet_captions.dataset.shards import NEVER_NULL, Shards
from imagenet_captions.engines.local import LOCAL, Engine
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import wnids_of
from imagenet_captions.images.files import ByteRange
from imagenet_captions.images.sources import locate
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome, count_outcomes, outcomes_path
from imagenet_captions.schema import CAPTIONS, RAW_ROW, ROW, provenance
from imagenet_captions.storage.files import CARD, MANIFEST, require_file, scratch_beside, sha256, walk
from imagenet_captions.storage.outputs import producing_folder
from imagenet_captions.storage.parquet import (
    TEXT_ROWS,
    ParquetFile,
    gather,
    read_batches,
    read_files,
    read_metadata,
    read_table,
)
from imagenet_captions.storage.places import Place, PlaceLike, is_remote, place
from imagenet_captions.storage.progress import progress

log = logging.getLogger(__name__)

_ROWS_AT_ONCE = 20_000  # of a few short columns


def package(
    captions: Place, out: Place, settings: PackageSettings, workers: int = 1, engine: Engine = LOCAL
) -> DatasetFacts:
    """Write the dataset folder `out`, whole or not at all.

    The same captions and images give the same bytes, wherever `out` is and however many workers there are. A folder
    that already is a dataset of ours is replaced.

    Raises InputError for bad input and for a full disk; `out` is unchanged then.
    """
    with producing_folder(out, [captions, settings.images]) as folder:
        classes, made = _check_captions(captions)
        earlier_settings = made.get("settings", {})
        among, rows = ClassSet.recorded(earlier_settings), sum(count for _, count in classes)
        ranges: list[ByteRange | None] | None = None
        remarks: dict[int, str] = {}
        with scratch_beside(folder / "rows") as scratch:
            if settings.images is not None:
                wanted = read_table(captions, ["image_id", "wnid", "photo_id"])
                ranges, remarks = locate(wanted, settings.images, scratch)
                if rows and not any(ranges):
                    told = "none of the rows has an image in %s; check the path, or leave `images` out"
                    log.warning(told, settings.images)
            if settings.missing == "fail":
                _refuse(captions, remarks, f"of {rows:,} rows have no image")
            kept = np.ones(rows, bool)
            if settings.missing == "skip":
                kept[[*remarks]] = False
            files: list[writing.ShardFile] = []
            faults: dict[int, str] = {}
            with progress("package", int(kept.sum()), "rows") as bar:
                # Without images both configs are written together; with them a broken one is left out of `raw` too.
                for configs in (("data", "raw"),) if ranges is None else (("data",), ("raw",)):
                    planned = (_jobs(captions, folder, config, classes, among, ranges, kept) for config in configs)
                    jobs = [*chain.from_iterable(planned)]
                    for shard in engine.run(writing.write_shard, jobs, min(workers, len(jobs)), threads=True):
                        files.append(shard)
                        faults |= shard.faults
                        bar.update(sum(file.rows for file in files) // 2 - bar.n)  # both configs have each row
                    kept[[*faults]] = False
        if settings.missing == "fail":
            _refuse(captions, faults, "images cannot be used")
        missing = Outcome.NO_IMAGE if settings.missing == "skip" else Outcome.KEPT
        ends = {row: (missing, remark) for row, remark in remarks.items()}
        ends |= {row: (Outcome.BROKEN_IMAGE, fault) for row, fault in faults.items()}
        ended = read_files([captions], _ROWS_AT_ONCE, ["image_id", "wnid", "detail"])
        earlier = read_files([outcomes_path(captions)], _ROWS_AT_ONCE)
        writing.write_outcomes(folder / OUTCOMES_FILE, ended, ends.get, earlier)
        recorded = {
            **earlier_settings,
            "language": made.get("language"),
            "missing": None if ranges is None else settings.missing,
        }
        return writing.finish_dataset(folder, files, made.get("inputs", {}), recorded, made.get("measured", {}))


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
            classes += writing.count_values(batch["wnid"]).items()
        return classes, provenance(opened.schema_arrow)


def _refuse(captions: Place, rows: Mapping[int, str], what: str) -> None:
    """Raise InputError if there are such rows."""
    if rows:
        first = min(rows)
        image_id = gather([(0, captions)], np.array([first]), ["image_id"])["image_id"][0]
        raise InputError(
            f"{len(rows):,} {what}, the first is {image_id}: {rows[first]}; add or replace them, or choose `missing` "
            "report or skip"
        )


def _jobs(
    captions: Place,
    folder: Place,
    config: str,
    classes: Sequence[tuple[str, int]],
    among: ClassSet,
    ranges: Sequence[ByteRange | None] | None,
    kept: npt.NDArray[np.bool_],
) -> Iterator[writing.ShardJob]:
    """Yield the shards of one config."""
    metadata = read_metadata(captions)
    total = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    text = max(1, int(total) // max(1, 2 * len(kept)))  # the captions file has the texts twice, a config has them once
    if config == "raw" or ranges is None:
        ranges = None
        plan = writing.plan_groups(classes, repeat(text, len(kept)), TEXT_ROWS)
    else:
        sizes = [(text + part.size if part else text) if kept[row] else 0 for row, part in enumerate(ranges)]
        plan = writing.plan_groups(classes, sizes)
    shards = [
        [start + np.flatnonzero(kept[start:stop]) for start, stop, _ in shard if kept[start:stop].any()]
        for shard in writing.plan_shards(plan)
    ]
    columns, prefix = (RAW_ROW, "raw_") if config == "raw" else (ROW, "")
    schema = writing.dataset_schema(columns, ranges is not None, among)
    yield from writing.shard_jobs(folder, config, schema, [(0, captions)], shards, ranges, prefix)


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
    shards, read = Shards(place(dataset)), dict[str, _Read]()
    problems = list(_damaged(shards, read)) or list(_contradictions(shards, read))
    if problems:
        file, what = problems[0]
        others = len({name for name, _ in problems} - {file})
        more = f", and {others} more files are bad" if others else ""
        raise InputError(f"{shards.dataset} is damaged: {file} {what}{more}; package it again")
    return Verified(len(shards.manifest.files), shards.rows, shards.manifest.images)


class _Read(NamedTuple):
    """What is compared of a shard."""

    schema: pa.Schema
    ids: pa.ChunkedArray
    nulls: set[str]


def _read(shard: Place) -> _Read:
    with ParquetFile(shard) as opened:
        table = opened.read(["image_id", "tags"])
        groups = map(opened.metadata.row_group, range(opened.num_row_groups))
        chunks = [group.column(at) for group in groups for at in range(group.num_columns)]
        nulls = {each.path_in_schema for each in chunks if each.statistics and each.statistics.null_count}
        if table["tags"].null_count:  # statistics count empty lists too
            nulls.add("tags")
        return _Read(opened.schema_arrow, table["image_id"], nulls)


@contextmanager
def _here(path: Place) -> Iterator[Place]:
    """Give a file of a store as a copy on this machine, so that its bytes are requested once, in large parts."""
    if not is_remote(path):
        yield path
        return
    with TemporaryDirectory(prefix="imagenet-captions-") as scratch, path.open("rb") as remote:
        with Path(scratch, path.name).open("wb") as local:
            shutil.copyfileobj(remote, local, 8 << 20)
        yield Path(scratch, path.name)


def _damaged(shards: Shards, read: dict[str, _Read]) -> Iterator[tuple[str, str]]:
    """Yield files that are not as they were written or do not belong there, each with what is wrong; read the others.

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
            else:
                with _here(path) as local:
                    if sha256(local) != entry.sha256:
                        yield name, "has other bytes than when it was written"
                    elif "/" in name:
                        read[name] = _read(local)
            bar.update(entry.bytes)


def _contradictions(shards: Shards, read: Mapping[str, _Read]) -> Iterator[tuple[str, str]]:
    """Yield contradictions between files whose bytes are all as they were written."""
    manifest = shards.manifest
    images, seed = manifest.images is not None, manifest.shuffled
    ids = {}
    for config, row in (("data", ROW), ("raw", RAW_ROW)):
        names = manifest.shards(config)
        parts = [chunk for name in names for chunk in read[name].ids.chunks]
        found_ids = ids[config] = pa.chunked_array(parts, pa.string()).combine_chunks()
        present = sorted(wnids_of(found_ids).drop_null().unique().to_pylist())
        for name, rows in names.items():
            found, nulls = read[name].schema, read[name].nulls
            local = present if "label_original" in found.names else None
            schema = writing.dataset_schema(row, images and config == "data", manifest.classes, local)
            if not found.equals(schema) or found.metadata != schema.metadata:
                yield name, "has another schema than this version writes"
                return
            for column in sorted(nulls & NEVER_NULL):
                yield name, f"has nulls in {column}"
            if len(read[name].ids) != rows:
                yield name, "has another number of rows than the manifest says"
        order, wanted = pc.sort_indices(found_ids), "sorted by image id"
        if seed is not None:
            order, wanted = seeded_order(found_ids.to_pylist(), seed), f"in the order of the seed {seed}"
        if not np.array_equal(order, np.arange(len(found_ids))):
            yield next(iter(names)), f"and its other shards are not {wanted}"
    if not ids["data"].equals(ids["raw"]):
        yield "raw/", "has other ids than data/"
    outcomes = read_table(shards.outcomes)
    if outcomes.schema.names != OUTCOMES.names:
        yield OUTCOMES_FILE, "has other columns than this version writes"
        return
    if (twice := writing.first_repeated(outcomes)) is not None:
        yield OUTCOMES_FILE, f"has two outcomes for {quoted(twice)}"
    kept = outcomes.filter(pc.equal(outcomes["outcome"], Outcome.KEPT.value))["image_id"].combine_chunks()
    if not kept.equals(ids["data"] if seed is None else ids["data"].take(pc.sort_indices(ids["data"]))):
        yield OUTCOMES_FILE, "keeps other ids than data/ has"
    if count_outcomes(outcomes.to_batches()) != manifest.counts:
        yield OUTCOMES_FILE, "has other counts than the manifest"
