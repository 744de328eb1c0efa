"""Filtering a dataset: to a list of ids, or to a smaller dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.facts import Origin, ShardFile
from imagenet_captions.dataset.filtering.child import Child
from imagenet_captions.dataset.filtering.copy import CopyJob, copy_shard
from imagenet_captions.dataset.filtering.select import DENIED, STEPS, Ends, Selection, select
from imagenet_captions.dataset.filtering.settings import FilterSettings
from imagenet_captions.dataset.manifest import read_manifest, unchanged
from imagenet_captions.dataset.outcomes import write_outcomes
from imagenet_captions.dataset.writing import finish_dataset
from imagenet_captions.engines import local as engine
from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome
from imagenet_captions.storage.files import MANIFEST, sha256
from imagenet_captions.storage.outputs import (
    check_dataset_output,
    producing,
    record_path,
    replacing_folder,
    write_record,
)
from imagenet_captions.storage.parquet import read_files
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
