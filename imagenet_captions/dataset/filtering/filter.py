"""Filtering a dataset: to a list of ids, or to a smaller dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.features import local_labels, with_local_labels, without_images
from imagenet_captions.dataset.filtering.copy import CopyJob, copy_shard, parent_shards, row_sizes
from imagenet_captions.dataset.filtering.select import DENIED, STEPS, Selection, select
from imagenet_captions.dataset.filtering.settings import FilterSettings
from imagenet_captions.dataset.finish import finish_dataset
from imagenet_captions.dataset.folder import check_dataset_output, replacing_folder
from imagenet_captions.dataset.manifest import Manifest, read_manifest, unchanged
from imagenet_captions.dataset.outcomes import write_outcomes
from imagenet_captions.dataset.plan import plan_groups, plan_shards
from imagenet_captions.dataset.shard import ShardFile, shard_name
from imagenet_captions.engines import local as engine
from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome
from imagenet_captions.storage.file_names import MANIFEST
from imagenet_captions.storage.files import sha256
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import read_files, read_schema
from imagenet_captions.storage.parquet_writing import TEXT_ROWS
from imagenet_captions.storage.places import Place, PlaceLike, is_only_here, place
from imagenet_captions.storage.progress import progress
from imagenet_captions.storage.receipts import receipt_path

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
    receipt is written beside it, and `overwrite` allows replacing a file that something else wrote. Several `workers`
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
    if settings.local_labels:
        raise InputError("`local_labels=True` goes with `out`; a list of ids has no labels")
    if settings.without_images:
        raise InputError("`without_images=True` goes with `out`; a list of ids has no images")
    with producing([out], [dataset, *settings.files()], overwrite, receipt_path(out)) as new, unchanged(dataset):
        selection = select(dataset, settings)
        with new.files[0].open("w", encoding="utf-8", newline="") as opened:
            opened.writelines(f"{image_id}\n" for ids in selection.kept_ids() for image_id in ids.to_pylist())
        counts = selection.counts()
        new.about.update(parent=sha256(dataset / MANIFEST), filter=settings.as_given(), counts=counts)
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
        child = _Child(dataset, folder, parent, selection, settings)
        jobs = [*child.jobs(raw=False), *child.jobs(raw=True)]
        shards = list(_written(jobs, selection.kept, workers))
        _write_outcomes(dataset, folder, selection)
        images = parent.images is not None and not settings.without_images
        recorded = {**parent.settings, "filter": [*parent.settings.get("filter", []), settings.as_given()]}
        if not images:
            recorded["missing"] = None
        finish_dataset(folder, shards, {**parent.inputs, "parent": sha256(dataset / MANIFEST)}, recorded, images)
    return selection.counts()


_ROWS_AT_ONCE = 20_000  # of a few short columns
_OUTCOMES = [Outcome.KEPT.value, Outcome.DENIED.value, Outcome.FILTERED.value]
_WHY = [None, None, *STEPS[DENIED + 1 :]]  # the denylist has the reason


@dataclass(frozen=True)
class _Child:
    """A dataset that is being written from another one."""

    dataset: Place
    folder: Place
    parent: Manifest
    selection: Selection
    settings: FilterSettings

    def jobs(self, raw: bool) -> Iterator[CopyJob]:
        """Yield the shards of one config, with row groups as packaging would make them."""
        rows, classes = self.selection.rows(), self.selection.classes()
        parents = parent_shards(self.dataset, self.parent.shards("raw" if raw else "data"))
        before = read_schema(parents[0].path)
        schema = self._schema(before)
        sizes = row_sizes(parents, rows, "image" in schema.names)
        fill = 1 if "image" in schema.names else TEXT_ROWS
        wnids = chain.from_iterable(repeat(wnid, count) for wnid, count in classes.items())
        shards = plan_shards(plan_groups(wnids, map(int, sizes), fill))
        for number, groups in enumerate(shards):
            part = rows[groups[0].start : groups[-1].stop]
            needed = [parent for parent in parents if parent.has_any(part)]
            name = shard_name(raw, number, len(shards))
            yield CopyJob(needed, self.folder, name, schema, before.names, groups, part)

    def _schema(self, parent: pa.Schema) -> pa.Schema:
        schema = without_images(parent) if self.settings.without_images and "image" in parent.names else parent
        # Labels that are already local would otherwise name classes without rows.
        local = self.settings.local_labels or local_labels(schema) is not None
        return with_local_labels(schema, sorted(self.selection.classes())) if local else schema


def _written(jobs: list[CopyJob], rows: int, workers: int) -> Iterator[ShardFile]:
    written = 0
    with progress("write", rows, "rows") as bar:
        alone = any(is_only_here(path) for job in jobs[:1] for path in (job.folder, job.parents[0].path))
        for shard in engine.run(copy_shard, jobs, min(workers, len(jobs)), threads=alone):
            written += shard.rows
            bar.update(written // 2 - bar.n)  # both configs have each row
            yield shard


def _write_outcomes(dataset: Place, folder: Place, selection: Selection) -> None:
    """Write the outcomes of the parent, changed for the rows that were left out."""
    parent = [dataset / OUTCOMES_FILE]
    rows = _ended(read_files(parent, _ROWS_AT_ONCE), selection)
    others = (batch.filter(pc.invert(_was_kept(batch))) for batch in read_files(parent, _ROWS_AT_ONCE))
    write_outcomes(folder / OUTCOMES_FILE, rows, others)


def _ended(batches: Iterable[pa.RecordBatch], selection: Selection) -> Iterator[pa.Table]:
    """Yield the outcomes of the parent's rows, in the order of the rows."""
    start = 0
    for batch in batches:
        rows = batch.filter(_was_kept(batch))
        codes = selection.ended[start : start + len(rows)]
        kinds = pa.array(_OUTCOMES).take(pa.array(np.minimum(codes, DENIED + 1)))
        reasons = pa.array(_WHY).take(pa.array(codes)).to_pylist()
        for row in np.flatnonzero(codes == DENIED):
            reasons[row] = selection.denied[start + int(row)]
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
