"""Selecting the rows of a dataset that a filter keeps, and the step that left out each other row."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from imagenet_captions.dataset.loading import check_condition, of_shards
from imagenet_captions.dataset.manifest import Manifest, read_manifest, shard_files
from imagenet_captions.dataset.sampling import Sampling, choose, random_classes, sampling_chance, short_of, wnids_of
from imagenet_captions.dataset.settings import FilterSettings, read_ids
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.schema import SCORES, provenance
from imagenet_captions.storage.files import MANIFEST, checked, require_file, sha256
from imagenet_captions.storage.parquet import read_files, read_schema, read_table, reading
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


Similarities = npt.NDArray[np.float64]


class _Inputs(msgspec.Struct):
    dataset: str
    weights: str


class _Settings(msgspec.Struct):
    model: str


class _About(msgspec.Struct):
    inputs: _Inputs
    settings: _Settings


@dataclass(frozen=True)
class ScoreLimits:
    """A file of scores, and the rows to keep: those with more than `above`, and of these the share `top`."""

    file: Place
    above: float | None
    top: float | None

    def __post_init__(self) -> None:
        if self.above is None and self.top is None:
            raise InputError("`scores` has no effect without a limit; give `score_above` or `score_top`")
        if self.above is not None and not -1 <= self.above <= 1:
            raise InputError(f"`score_above` must be a similarity from -1 to 1, not {self.above}")
        if self.top is not None and not 0 < self.top <= 1:
            raise InputError(f"`score_top` must be a share above 0 and at most 1, not {self.top}")

    def similarities(self, dataset: Place, manifest: Manifest, ids: Iterator[tuple[int, pa.Array]]) -> Similarities:
        """Return the similarity of every row of a dataset, NaN for a row without a score.

        Raises InputError for scores of another dataset, except those of the one that this one was filtered from.
        """
        of = self._about().inputs.dataset
        scores = read_table(self.file, ["image_id", "similarity"])
        if not pc.all(pc.is_finite(scores["similarity"]), min_count=0).as_py():
            raise InputError(f"{self.file} has similarities that are not numbers; score the dataset again")
        if len(scores["image_id"].unique()) != len(scores):
            raise InputError(f"{self.file} has an id twice; score the dataset again")
        at = [pc.index_in(batch, value_set=scores["image_id"].combine_chunks()) for _, batch in ids]
        found: Similarities = scores["similarity"].take(pa.chunked_array(at, pa.int32())).to_numpy().astype(np.float64)
        if of not in (sha256(dataset / MANIFEST), manifest.inputs.get("parent")) or np.isnan(found).all():
            shared = int(np.count_nonzero(~np.isnan(found)))
            raise InputError(
                f"{self.file} has the scores of another dataset than {dataset}, with {shared:,} of its {len(found):,} "
                "ids; score this one, or the one that it was filtered from"
            )
        return found

    def as_given(self) -> dict[str, Any]:
        """Return the limits, and the model and weights behind the scores, for the record."""
        about = self._about()
        given = {"score-above": self.above, "score-top": self.top}
        return {
            "scores": "sha256:" + sha256(self.file),
            "score-model": about.settings.model,
            "score-weights": "sha256:" + about.inputs.weights,
            **{name: value for name, value in given.items() if value is not None},
        }

    def _about(self) -> _About:
        """Return what the file says of itself; raises InputError if `score` did not write it."""
        schema = read_schema(require_file(self.file, "the file of scores"))
        if not set(SCORES) <= set(schema) or "inputs" not in provenance(schema):
            raise InputError(f"{self.file} was not written by `imagenet-captions score`; give a file that was")
        return checked(provenance(schema), _About, f"the file of scores {self.file}")


def below_top(ids: list[str], similarities: Similarities, share: float) -> Flags:
    """Return a mask of the rows outside the share with the highest similarities; of equal ones the lower id wins.

    >>> below_top(["b", "a", "c"], np.array([0.2, 0.2, 0.3]), share=0.67).tolist()
    [True, False, False]
    """
    order = np.lexsort((np.array(ids), -similarities))
    below = np.ones(len(ids), bool)
    below[order[: round(share * len(ids))]] = False
    return below


ENTRIES = MENTIONS, CLASS = ("mentions", "class")

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Balance:
    """Balanced sampling with `threshold` matches per entry; `by` says what an entry is."""

    threshold: int
    by: str = MENTIONS

    def __post_init__(self) -> None:
        if self.threshold < 1:
            raise InputError(f"`balance` must be at least 1 match per entry, not {self.threshold}")
        if self.by not in ENTRIES:
            raise InputError(f"`by` must be mentions or class, not {quoted(self.by)}")


def balanced(shards: Sequence[str | Place], remaining: Flags, balance: Balance, seed: int, among: ClassSet) -> Flags:
    """Return a mask of the rows that balanced sampling keeps of the `remaining` ones; the log has the tail curve.

    Raises InputError if none of them matches an entry.
    """
    rows, entries = _matches(shards, remaining, balance.by, among)
    if not len(rows):
        raise InputError("no row mentions a class, so `balance` has nothing to count; give `by='class'`")
    size = len(classes.wnids(among))
    before = np.bincount(entries, minlength=size)
    wanted = keep_probabilities(rows, entries, before, balance.threshold, len(remaining))
    kept = remaining & (_chances(shards, seed) < wanted)
    log.info("%s", format_tail(before, np.bincount(entries[kept[rows]], minlength=size), balance.threshold))
    return kept


def keep_probabilities(rows: Integers, entries: Integers, counts: Integers, threshold: int, size: int) -> Floats:
    """Return the probability to keep each of `size` rows; row `rows[i]` matches entry `entries[i]`.

    >>> keep_probabilities(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([40, 20]), 10, size=3).round(3)
    array([0.25 , 0.625, 0.   ])
    """
    with np.errstate(divide="ignore"):  # an entry with at most `threshold` matches keeps all of its rows
        logs = np.log1p(-np.minimum(1, threshold / counts))
    return 0 - np.expm1(np.bincount(rows, weights=logs[entries], minlength=size))


def _matches(shards: Sequence[str | Place], remaining: Flags, by: str, among: ClassSet) -> tuple[Integers, Integers]:
    """Return the row and the entry of every match of the remaining rows."""
    rows, entries = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    start = 0
    for batch in read_files(shards, columns=["image_id" if by == "class" else by]):
        row, entry = _of_class(batch[0], among) if by == "class" else _of_mentions(batch[0])
        wanted = remaining[start + row]
        rows.append(start + row[wanted])
        entries.append(entry[wanted])
        start += len(batch)
    return np.concatenate(rows), np.concatenate(entries)


def _of_class(ids: pa.Array, among: ClassSet) -> tuple[Integers, Integers]:
    labels = pc.index_in(wnids_of(ids), value_set=pa.array(classes.wnids(among), pa.string()))
    return np.arange(len(ids)), labels.to_numpy(zero_copy_only=False).astype(np.int64)


def _of_mentions(mentions: pa.Array) -> tuple[Integers, Integers]:
    labels = pc.split_pattern(pc.utf8_trim_whitespace(mentions), " ")
    flat, rows = pc.list_flatten(labels), pc.list_parent_indices(labels)
    there = pc.not_equal(flat, "")
    return (
        rows.filter(there).to_numpy(zero_copy_only=False).astype(np.int64),
        flat.filter(there).cast(pa.int64()).to_numpy(zero_copy_only=False),
    )


def _chances(shards: Sequence[str | Place], seed: int) -> Floats:
    ids = (image_id for batch in read_files(shards, columns=["image_id"]) for image_id in batch[0].to_pylist())
    return np.fromiter((sampling_chance(image_id, seed) for image_id in ids), np.float64)


def format_tail(before: Integers, after: Integers, threshold: int) -> str:
    """Return as text how many entries are rare, and which share of the matches the frequent ones have.

    >>> print(format_tail(np.array([0, 4, 30, 70]), np.array([0, 4, 9, 12]), 10))
    entries with               before   after
    no match                        1       1
    at most 1                       1       1
    at most 10                      2       3
    at most 100                     4       4
    matches in the 2 entries
    with more than 10           96.2%   84.0%
    """
    powers = [10**power for power in range(len(str(max(1, before.max() - 1))) + 1)]
    limits = {"no match": 0} | {f"at most {power:,}": power for power in powers}
    lines: list[tuple[str, ...]] = [("entries with", "before", "after")]
    lines += [(name, *(f"{np.sum(counts <= most):,}" for counts in (before, after))) for name, most in limits.items()]
    head = before > threshold
    shares = (f"{counts[head].sum() / max(1, counts.sum()):.1%}" for counts in (before, after))
    lines += [(f"matches in the {head.sum():,} entries", "", ""), (f"with more than {threshold:,}", *shares)]
    width = max(len(name) for name, *_ in lines)
    return "\n".join(f"{name:<{width}} {values[0]:>8}{values[1]:>8}".rstrip() for name, *values in lines)
