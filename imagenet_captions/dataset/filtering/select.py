"""Selecting the rows of a dataset that a filter keeps, and the step that left out each other row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from imagenet_captions.dataset.filtering.balance import balanced
from imagenet_captions.dataset.filtering.scores import ScoreLimits, Similarities, below_top
from imagenet_captions.dataset.filtering.settings import FilterSettings, read_ids
from imagenet_captions.dataset.loading import check_condition, of_shards
from imagenet_captions.dataset.manifest import read_manifest, shard_files
from imagenet_captions.dataset.sampling import Sampling, choose, random_classes, short_of, wnids_of
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.storage.parquet import read_files, read_metadata, reading
from imagenet_captions.storage.places import Place, reopen
from imagenet_captions.storage.progress import Bar, progress

log = logging.getLogger(__name__)

KEPT, DENIED = 0, 1
STEPS = (
    *("kept", "denied", "condition", "ids", "no-score", "score-above", "score-top"),
    *("random-classes", "balance", "trim-tail", "like", "per-class", "sample"),
)

_BYTES_AT_ONCE = 64 << 20  # of row groups that are requested together

Flags = npt.NDArray[np.bool_]
Ends = npt.NDArray[np.int8]  # indices in `STEPS`


@dataclass(frozen=True)
class Selection:
    """The result of a filter: for every row its index in `STEPS`, and for denied rows the reason.

    Ids are not held in memory, because a dataset may have millions of rows.
    """

    texts: Sequence[Place]  # the shards of the config `raw`: the same rows in few row groups, since they have no images
    ended: Ends
    denied: Mapping[int, str]

    @property
    def kept(self) -> int:
        """Return the number of kept rows."""
        return int(np.count_nonzero(self.ended == KEPT))

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the row numbers of the kept rows."""
        return np.flatnonzero(self.ended == KEPT)

    def kept_ids(self) -> Iterator[pa.Array]:
        """Yield the ids of the kept rows, in the order of the dataset, in batches."""
        for start, ids in _ids(self.texts):
            yield ids.filter(pa.array(self.ended[start : start + len(ids)] == KEPT))

    def classes(self) -> dict[str, int]:
        """Return the number of kept rows of each class that has any, in the order of the rows."""
        found: Counter[str] = Counter()
        for ids in self.kept_ids():
            wnids, counts = wnids_of(ids).value_counts().flatten()
            found.update(dict(zip(wnids.to_pylist(), counts.to_pylist(), strict=True)))
        return dict(found)

    def by_row(self) -> tuple[Ends, Mapping[int, str]]:
        """Return how the rows ended, in the order of the dataset, and why rows were denied."""
        return self.ended, self.denied

    def by_id(self) -> tuple[Ends, Mapping[int, str]]:
        """Return the same in the order of the ids, in which outcomes are written."""
        order = pc.sort_indices(pa.chunked_array(ids for _, ids in _ids(self.texts))).to_numpy()
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return self.ended[order], {int(place[row]): why for row, why in self.denied.items()}

    def counts(self) -> dict[str, int]:
        """Return the number of rows kept, denied, and left out by each step."""
        found = np.bincount(self.ended, minlength=len(STEPS))
        return {name: int(count) for name, count in zip(STEPS, found, strict=True) if count}


def select(dataset: Place, settings: FilterSettings) -> Selection:
    """Apply a filter, always in the order of `STEPS`.

    Raises InputError if no row is left.
    """
    manifest = read_manifest(dataset)
    condition, sampling = settings.row_condition(manifest.classes), settings.sampling(manifest.classes)
    parquet, texts = of_shards(shard_files(dataset, "data", manifest)), shard_files(dataset, "raw", manifest)
    ended = np.zeros(sum(manifest.shards("data").values()), np.int8)
    if (rows := sum(read_metadata(shard).num_rows for shard in texts)) != len(ended):
        raise InputError(f"{dataset} has {rows:,} rows, and its manifest says {len(ended):,}; package it again")
    with progress("select", len(ended), "rows") as bar:
        denied = _denied(texts, settings.deny)
        ended[list(denied)] = DENIED
        if condition is not None:
            check_condition(parquet.schema, condition, dataset)
            _leave_out(ended, ~_passing(parquet, condition, len(ended), bar), "condition")
        if settings.ids is not None:
            wanted = pa.array(sorted(read_ids(settings.ids)), pa.string())
            listed = [pc.is_in(ids, value_set=wanted) for _, ids in _ids(texts)]
            _leave_out(ended, ~pa.chunked_array(listed, pa.bool_()).to_numpy(), "ids")
        selection = Selection(texts, ended, denied)
        if settings.score_limits is not None:
            found = settings.score_limits.similarities(dataset, manifest, _ids(texts))
            _by_score(selection, found, settings.score_limits)
        if settings.random_classes is not None and selection.kept:
            chosen = random_classes(list(selection.classes()), settings.random_classes, settings.seed)
            _leave_out(ended, ~_in_classes(texts, chosen), "random-classes")
        if (balance := settings.balancing()) is not None and selection.kept:
            shards = texts if balance.by == "class" else parquet.files
            kept = balanced(shards, ended == KEPT, balance, settings.seed, manifest.classes)
            _leave_out(ended, ~kept, "balance")
        if sampling.samples:
            _sample(selection, sampling)
    if not selection.kept:
        steps = ", ".join(f"{step} {count:,}" for step, count in selection.counts().items())
        raise InputError(
            f"nothing in {dataset} matches (left out by {steps or 'nothing: it has no rows'}); take back a condition, "
            "or check its spelling"
        )
    return selection


def _leave_out(ended: Ends, rows: Flags, step: str) -> None:
    ended[rows & (ended == KEPT)] = STEPS.index(step)


def _by_score(selection: Selection, found: Similarities, limits: ScoreLimits) -> None:
    """Leave out the rows without a score, those that are not above the limit, and those outside the highest share."""
    ended = selection.ended
    without = np.isnan(found)
    if lacking := int(np.count_nonzero(without & (ended == KEPT))):
        log.info("%s of %s rows have no score and are left out", f"{lacking:,}", f"{selection.kept:,}")
    _leave_out(ended, without, "no-score")
    if limits.above is not None:
        _leave_out(ended, ~(found > limits.above), "score-above")
    if limits.top is not None:
        rows, ids = selection.rows(), [image_id for some in selection.kept_ids() for image_id in some.to_pylist()]
        ended[rows[below_top(ids, found[rows], limits.top)]] = STEPS.index("score-top")


def _ids(shards: Sequence[Place]) -> Iterator[tuple[int, pa.Array]]:
    """Yield the ids in order, in batches, each with the row number of its first id."""
    start = 0
    for batch in read_files(shards, columns=["image_id"]):
        yield start, batch["image_id"]
        start += len(batch)


def _in_classes(shards: Sequence[Place], wnids: Sequence[str]) -> Flags:
    """Return a mask of the rows of these classes."""
    wanted = pa.array(wnids, pa.string())
    found = [pc.is_in(wnids_of(ids), value_set=wanted) for _, ids in _ids(shards)]
    return pa.chunked_array(found, pa.bool_()).to_numpy()  # type: ignore[no-any-return]


def _passing(parquet: pads.FileSystemDataset, condition: pc.Expression, rows: int, bar: Bar) -> Flags:
    """Return a mask of the rows that pass; row groups that cannot have any, by their statistics, are not read."""
    flags = np.zeros(rows, bool)
    start = 0
    for shard in map(reopen, parquet.files):
        # A new fragment for each shard, because a fragment keeps its footer, and many footers add up.
        with reading(shard):
            (fragment,) = of_shards([shard]).get_fragments()
            possible = {group.id for group in fragment.subset(condition).row_groups}
            for groups in _together(fragment.row_groups, possible):
                rows = sum(group.num_rows for group in groups)
                if groups[0].id in possible:
                    # All rows of these groups: a scanner that filters does not report which rows it left out.
                    found = fragment.subset(row_group_ids=[group.id for group in groups]).to_table(
                        schema=parquet.schema, columns={"keep": condition}
                    )
                    flags[start : start + rows] = pc.fill_null(found["keep"], False).to_numpy()
                start += rows
                bar.update(rows)
    return flags


def _together(groups: Sequence[Any], possible: set[int]) -> Iterator[list[Any]]:
    """Yield runs of neighboring row groups that are all possible or all not, of at most `_BYTES_AT_ONCE`."""
    run: list[Any] = []
    held = 0
    for group in groups:
        if run and ((group.id in possible) != (run[0].id in possible) or held + group.total_byte_size > _BYTES_AT_ONCE):
            yield run
            run, held = [], 0
        run.append(group)
        held += group.total_byte_size
    if run:
        yield run


def _denied(shards: Sequence[Place], denylist: Denylist) -> dict[int, str]:
    denied: dict[int, str] = {}
    if not denylist:
        return denied
    start = 0
    for batch in read_files(shards, columns=["image_id", "photo_id", "owner", "photo_page"]):
        reasons = denylist.reasons(batch).to_pylist()
        denied |= {start + at: why for at, why in enumerate(reasons) if why}
        start += len(batch)
    return denied


def _sample(selection: Selection, sampling: Sampling) -> None:
    """Leave out the rows that are not sampled; the ids of the remaining rows are held in memory."""
    rows = selection.rows()
    before = [image_id for ids in selection.kept_ids() for image_id in ids.to_pylist()]
    left_out = choose(before, sampling)
    for row, image_id in zip(rows, before, strict=True):
        if (step := left_out.get(image_id)) is not None:
            selection.ended[row] = STEPS.index(step)
    if sampling.like is not None and (short := short_of(before, sampling.like)):
        log.info("%s of %s classes have fewer rows than the table asks for", f"{short:,}", f"{len(sampling.like):,}")
    if isinstance(sampling.sample, int) and (kept := selection.kept) and kept < sampling.sample:
        log.info("only %s rows are there for a sample of %s", f"{kept:,}", f"{sampling.sample:,}")
