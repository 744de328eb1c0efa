"""From a dataset and a filter to a list of ids, or to a smaller dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from imagenet_captions import engine
from imagenet_captions.dataset.features import local_labels, with_local_labels
from imagenet_captions.dataset.finish import finish_dataset
from imagenet_captions.dataset.folder import check_inside, check_output, replacing_folder
from imagenet_captions.dataset.manifest import NAME, Manifest, read_manifest
from imagenet_captions.dataset.outcomes import write_outcomes
from imagenet_captions.dataset.plan import TEXT_ROWS, plan_groups, plan_shards
from imagenet_captions.dataset.shard import ShardFile, shard_name
from imagenet_captions.errors import InputError
from imagenet_captions.files import replacing, sha256, write_json
from imagenet_captions.filtering.copy import CopyJob, ParentRows, Rows, copy_shard
from imagenet_captions.filtering.select import Selection, select
from imagenet_captions.filtering.settings import FilterSettings
from imagenet_captions.image_ids import wnid_of
from imagenet_captions.records import OUTCOMES, Outcome


def filter_to_ids(dataset: Path, out: Path, settings: FilterSettings) -> dict[str, int]:
    """Write the ids that a filter keeps, sorted, one a line; and beside them, as OUT.json, how they were chosen.

    Returns the number of rows kept, and left out by each step.
    """
    if out.is_dir():
        raise InputError(f"--ids {out} is a folder; give a file")
    if settings.local_labels:
        raise InputError("--local-labels goes with --out; a list of ids has no labels")
    check_inside(out, dataset, "the ids")
    selection = select(dataset, settings)
    with replacing(out) as partial:
        partial.write_text("\n".join(selection.kept) + "\n", encoding="utf-8")
    counts = selection.counts()
    record = {"parent": sha256(dataset / NAME), "filter": settings.as_given(), "counts": counts, "ids": sha256(out)}
    write_json(out.with_name(out.name + ".json"), record)
    return counts


def filter_to_dataset(dataset: Path, out: Path, settings: FilterSettings, workers: int) -> dict[str, int]:
    """Write the rows that a filter keeps as a dataset folder, whole or not at all.

    It names its parent by the SHA-256 of the parent's manifest, and has the parent's outcomes, in which the rows left
    out are `filtered`. Returns the number of rows kept, and left out by each step.
    """
    check_output(out, None)
    if out.resolve() == dataset.resolve():
        raise InputError(f"the output folder {out} is the dataset itself; give another one")
    check_inside(dataset, out, "the dataset")
    check_inside(out, dataset, "the output")
    parent = read_manifest(dataset)
    selection = select(dataset, settings)
    with replacing_folder(out) as folder:
        child = _Child(dataset, folder, parent, selection, settings.local_labels)
        jobs = [*child.jobs(raw=False), *child.jobs(raw=True)]
        shards = list(_written(jobs, len(selection.kept), workers))
        _write_outcomes(dataset, folder, selection)
        earlier = parent.settings.get("filter", [])
        finish_dataset(
            folder,
            shards,
            {**parent.inputs, "parent": sha256(dataset / NAME)},
            {**parent.settings, "filter": [*earlier, settings.as_given()]},
            parent.images is not None,
        )
    return selection.counts()


@dataclass(frozen=True)
class _Child:
    """A dataset that is being made of another one."""

    dataset: Path
    folder: Path
    parent: Manifest
    selection: Selection
    local_labels: bool

    def jobs(self, raw: bool) -> Iterator[CopyJob]:
        """The shards of one config, in row groups of their own size, as packaging would make them."""
        kept = self.selection.kept
        rows = self._rows()
        config = "raw/" if raw else "data/"
        parents = [self.dataset / name for name in sorted(self.parent.files) if name.startswith(config)]
        sizes = np.concatenate([np.full(count, size) for count, size in ParentRows(parents).sizes()])[rows].tolist()
        schema = self._schema(parents[0])
        fill = 1 if "image" in schema.names else TEXT_ROWS
        shards = plan_shards(plan_groups([wnid_of(image_id) for image_id in kept], sizes, fill))
        for number, groups in enumerate(shards):
            part = rows[groups[0].start : groups[-1].stop]
            yield CopyJob(parents, self.folder, shard_name(raw, number, len(shards)), schema, groups, part)

    def _rows(self) -> Rows:
        kept = pa.array(self.selection.kept, pa.string())
        stays = pc.is_in(pa.array(self.selection.ids, pa.string()), kept)
        return np.flatnonzero(stays.to_numpy(zero_copy_only=False))

    def _schema(self, parent: Path) -> pa.Schema:
        schema = pq.read_schema(parent)
        present = {wnid_of(image_id) for image_id in self.selection.kept}
        # Labels that are local already would else have classes that are no longer there.
        local = self.local_labels or local_labels(schema) is not None
        return with_local_labels(schema, sorted(present)) if local else schema


def _written(jobs: list[CopyJob], rows: int, workers: int) -> Iterator[ShardFile]:
    with tqdm(total=2 * rows, desc="filter", unit=" rows", unit_scale=True, disable=None) as progress:
        for shard in engine.run(copy_shard, jobs, min(workers, len(jobs))):
            progress.update(shard.rows)
            yield shard


def _write_outcomes(dataset: Path, folder: Path, selection: Selection) -> None:
    """The parent's outcomes, with the rows that were left out as such."""
    outcomes = pq.read_table(dataset / "outcomes.parquet").select(OUTCOMES.names)
    kept = pc.equal(outcomes["outcome"], Outcome.KEPT.value)
    rows = outcomes.filter(kept)
    kinds: list[str] = []
    details: list[str | None] = []
    for image_id, detail in zip(rows["image_id"].to_pylist(), rows["detail"].to_pylist(), strict=True):
        outcome, why = _ended(image_id, selection)
        kinds.append(outcome.value)
        details.append("; ".join(filter(None, (detail, why))) or None)
    columns = [rows["image_id"], rows["wnid"], kinds, details, rows["count"]]
    write_outcomes(folder / "outcomes.parquet", pa.table(columns, schema=OUTCOMES), outcomes.filter(pc.invert(kept)))


def _ended(image_id: str, selection: Selection) -> tuple[Outcome, str | None]:
    if (why := selection.denied.get(image_id)) is not None:
        return Outcome.DENIED, why
    if (step := selection.left_out.get(image_id)) is not None:
        return Outcome.FILTERED, step
    return Outcome.KEPT, None


def format_counts(counts: Mapping[str, Any]) -> str:
    """What a filter did, as a text table.

    >>> print(format_counts({"kept": 12, "condition": 1200}))
    kept                      12
    left out by condition  1,200
    """
    lines = {"kept" if name == "kept" else f"left out by {name}": count for name, count in counts.items()}
    width, digits = max(map(len, lines)), max(len(f"{count:,}") for count in lines.values())
    return "\n".join(f"{name:<{width}}  {count:>{digits},}" for name, count in lines.items())
