"""From `captions.parquet` and a source of images to a dataset folder that `load_dataset` reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from imagenet_captions.dataset.finish import finish_dataset
from imagenet_captions.dataset.folder import check_inside, check_output, replacing_folder
from imagenet_captions.dataset.outcomes import outcome_table, write_outcomes
from imagenet_captions.dataset.plan import TEXT_ROWS, Group, plan_groups, plan_shards
from imagenet_captions.dataset.shard import shard_name
from imagenet_captions.engine import LOCAL, Engine, check_workers, default_workers
from imagenet_captions.errors import InputError
from imagenet_captions.files import remove_tree, require_file
from imagenet_captions.packager.images import open_images
from imagenet_captions.packager.locate import Located, Rows, locate
from imagenet_captions.packager.shards import Shard, ShardJob, write_shard
from imagenet_captions.records import CAPTIONS, Outcome, outcomes_path, provenance

log = logging.getLogger(__name__)

MISSING = ("report", "skip", "fail")


@dataclass(frozen=True)
class PackageSettings:
    """Where the images are (None: a dataset without), and what to do about a row that has none."""

    images: Path | None = None
    missing: str = "report"
    workers: int = field(default_factory=default_workers)
    engine: Engine = LOCAL

    def __post_init__(self) -> None:
        check_workers(self.workers)
        if self.missing not in MISSING:
            raise InputError(f"--missing {self.missing!r} is not possible; give one of {', '.join(MISSING)}")


@dataclass(frozen=True)
class Packaged:
    """What a run of `package` made: how the inputs ended, and how many kept rows have an image and have none."""

    outcomes: Mapping[Outcome, int]
    images: int
    missing: int


def package(captions: Path, out: Path, settings: PackageSettings) -> Packaged:
    """Write the dataset folder `out`, whole or not at all.

    The same captions and images give the same bytes, wherever `out` is and however many workers there are. A folder
    that already is a dataset of ours is replaced.

    Raises InputError for what the user gave, and for a full disk; then `out` is as it was.
    """
    table = _read_ids(captions)
    check_output(out, settings.images)
    check_inside(captions, out, "the captions")
    with replacing_folder(out) as folder:
        plan = _plan(captions, table, folder, settings)
        shards = list(_write_shards(plan, settings))
        remove_tree(folder / _SCRATCH)
        _check_faults(plan, settings, shards)
        return _finish(plan, folder, shards, settings)


_SCRATCH = "scratch"


@dataclass(frozen=True)
class _Plan:
    captions: Path
    folder: Path
    ids: pa.Table
    located: Located | None
    skipped: frozenset[int]
    shards: list[list[Group]]
    text_shards: list[list[Group]]
    made: Mapping[str, Any]  # provenance of the captions

    def jobs(self, raw: bool, dropped: frozenset[int]) -> Iterator[ShardJob]:
        """The shards of one config."""
        located = None if raw else self.located
        shards = self.text_shards if raw else self.shards
        for number, groups in enumerate(shards):
            start, stop = (groups[0].start, groups[-1].stop) if groups else (0, 0)
            name = shard_name(raw, number, len(shards))
            places = None if located is None else located.places[start:stop]
            here = dropped.intersection(range(start, stop))
            yield ShardJob(self.captions, self.folder, name, raw, groups, places, here)


def _read_ids(captions: Path) -> pa.Table:
    require_file(captions, "the captions file")
    require_file(outcomes_path(captions), "the file of drops beside the captions")
    try:
        schema = pq.read_schema(captions)
        if schema.names != CAPTIONS.names:
            raise InputError(f"{captions} is not a captions file; give what `imagenet-captions clean` wrote")
        table = pq.read_table(captions, columns=["image_id", "wnid", "photo_id", "detail"])
    except pa.ArrowInvalid:
        raise InputError(f"{captions} is no Parquet file, or a damaged one; clean again") from None
    ids = table["image_id"].combine_chunks()
    if not pc.all(pc.less(ids[:-1], ids[1:])).as_py() and len(ids) > 1:
        raise InputError(f"{captions} is not sorted by image id, or has one twice; clean again")
    return table.replace_schema_metadata(schema.metadata)


def _plan(captions: Path, table: pa.Table, folder: Path, settings: PackageSettings) -> _Plan:
    rows = Rows(table["image_id"].to_pylist(), table["wnid"].to_pylist(), table["photo_id"].to_pylist())
    located = None
    if settings.images is not None:
        source = open_images(settings.images)
        scratch = folder / _SCRATCH
        scratch.mkdir()
        located = locate(rows, source, scratch)
        if located.missing and settings.missing == "fail":
            first = located.missing[0]
            raise InputError(
                f"{len(located.missing):,} of {len(rows):,} rows have no image, the first is {rows.image_ids[first]}: "
                f"{located.remarks[first]}; add the images, or choose --missing report or skip"
            )
    skipped = frozenset(located.missing if located and settings.missing == "skip" else ())
    text = _text_bytes(captions, len(rows))
    texts = plan_groups(rows.wnids, [text] * len(rows), TEXT_ROWS)
    groups = texts
    if located is not None:
        sizes = [
            0 if row in skipped else text + (place.size if place else 0) for row, place in enumerate(located.places)
        ]
        groups = plan_groups(rows.wnids, sizes)
    made = provenance(table.schema)
    return _Plan(captions, folder, table, located, skipped, plan_shards(groups), plan_shards(texts), made)


def _text_bytes(captions: Path, rows: int) -> int:
    metadata = pq.read_metadata(captions)
    total = sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))
    return max(1, int(total) // max(1, 2 * rows))  # the captions file has the texts twice, a config has them once


def _write_shards(plan: _Plan, settings: PackageSettings) -> Iterator[Shard]:
    """Write both configs; `raw` leaves out what turns out to be broken while `default` is written."""
    with tqdm(total=2 * len(plan.ids), desc="package", unit=" rows", unit_scale=True, disable=None) as progress:
        dropped = plan.skipped
        if plan.located is None:
            stages = [[*plan.jobs(False, dropped), *plan.jobs(True, dropped)]]
        else:
            stages = [list(plan.jobs(False, dropped)), []]
        for number, jobs in enumerate(stages):
            if number:
                jobs = list(plan.jobs(True, dropped))
            workers = min(settings.workers, max(1, len(jobs)))
            for shard in settings.engine.run(write_shard, jobs, workers, threads=True):
                dropped |= shard.faults.keys()
                progress.update(shard.file.rows)
                yield shard


def _check_faults(plan: _Plan, settings: PackageSettings, shards: Sequence[Shard]) -> None:
    faults = {row: fault for shard in shards for row, fault in shard.faults.items()}
    if faults and settings.missing == "fail":
        first = min(faults)
        raise InputError(
            f"{len(faults):,} images cannot be used, the first is that of {plan.ids['image_id'][first]}: "
            f"{faults[first]}; replace them, or choose --missing report or skip"
        )


def _finish(plan: _Plan, folder: Path, shards: Sequence[Shard], settings: PackageSettings) -> Packaged:
    dropped = {row: (Outcome.BROKEN_IMAGE, fault) for shard in shards for row, fault in shard.faults.items()}
    remarks = dict(plan.located.remarks) if plan.located else {}
    dropped |= {row: (Outcome.NO_IMAGE, remarks.pop(row)) for row in plan.skipped}
    outcomes = folder / "outcomes.parquet"
    earlier = pq.read_table(outcomes_path(plan.captions))
    write_outcomes(outcomes, outcome_table(plan.ids, remarks, dropped), earlier)
    has_images = plan.located is not None
    facts = finish_dataset(
        folder,
        [shard.file for shard in shards],
        plan.made.get("inputs", {}),
        {
            **plan.made.get("settings", {}),
            "language": plan.made.get("language"),
            "missing": settings.missing if has_images else None,
        },
        has_images,
    )
    return Packaged(facts.funnel, facts.images or 0, facts.rows - (facts.images or 0) if has_images else 0)
