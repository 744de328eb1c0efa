"""Selecting the rows of a dataset that a filter keeps, and the step that left out each other row."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from imagenet_captions.dataset.loading import check_condition, of_shards
from imagenet_captions.dataset.sampling import choose, random_classes, read_counts, sampling_chance, wnids_of
from imagenet_captions.dataset.settings import FilterSettings, parse_sample
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.schema import SCORES, provenance
from imagenet_captions.storage.files import checked, require_file
from imagenet_captions.storage.parquet import read_files, read_metadata, read_schema, read_table, reading
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
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """The result of a filter: for every row its index in `STEPS`, and for denied rows the reason."""

    texts: Sequence[Place]  # the shards of the config `raw`: the same rows in few row groups, since they have no images
    ended: npt.NDArray[np.int8]
    denied: dict[int, str]

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """The ids of all rows, in the order of the dataset."""
        return pa.chunked_array((batch[0] for batch in read_files(self.texts, columns=["image_id"])), pa.string())

    def leave_out(self, rows: Any, step: str) -> None:
        """Leave out the rows of a mask that are still kept."""
        self.ended[np.asarray(rows, bool) & (self.ended == KEPT)] = STEPS.index(step)

    @property
    def kept(self) -> int:
        """Return the number of kept rows."""
        return int(np.count_nonzero(self.ended == KEPT))

    def rows(self) -> Integers:
        """Return the row numbers of the kept rows."""
        return np.flatnonzero(self.ended == KEPT)

    def kept_ids(self) -> pa.ChunkedArray:
        """Return the ids of the kept rows, in the order of the dataset."""
        return self.ids.filter(pa.array(self.ended == KEPT))

    def classes(self) -> dict[str, int]:
        """Return the number of kept rows of each class that has any, in the order of the rows."""
        wnids, counts = wnids_of(self.kept_ids()).value_counts().flatten()
        return dict(zip(wnids.to_pylist(), counts.to_pylist(), strict=True))

    def counts(self) -> dict[str, int]:
        """Return the number of rows kept, denied, and left out by each step."""
        found = np.bincount(self.ended, minlength=len(STEPS))
        return {name: int(count) for name, count in zip(STEPS, found, strict=True) if count}


def select(shards: Shards, settings: FilterSettings) -> Selection:
    """Apply a filter, always in the order of `STEPS`.

    Raises InputError if no row is left.
    """
    among = shards.manifest.classes
    condition = settings.row_condition(among)
    like = None if settings.like is None else read_counts(settings.like, among)
    parquet, texts, total = of_shards(shards.files()), shards.files("raw"), shards.rows
    if (rows := sum(read_metadata(shard).num_rows for shard in texts)) != total:
        raise InputError(f"{shards.dataset} has {rows:,} rows, and its manifest says {total:,}; package it again")
    selection = Selection(texts, np.zeros(total, np.int8), {})
    with progress("select", total, "rows") as bar:
        if settings.deny:
            selection.denied.update(_denied(texts, settings.deny))
            selection.ended[list(selection.denied)] = DENIED
        if condition is not None:
            check_condition(parquet.schema, condition, shards.dataset)
            selection.leave_out(~_passing(parquet, condition, total, bar), "condition")
        if settings.ids is not None:
            selection.leave_out(pc.invert(pc.is_in(selection.ids, value_set=_read_ids(settings.ids))), "ids")
        if settings.scores is not None:
            _by_score(selection, settings, settings.scores, shards)
        if settings.random_classes is not None and selection.kept:
            chosen = random_classes(list(selection.classes()), settings.random_classes, settings.seed)
            chosen_rows = pc.is_in(wnids_of(selection.ids), value_set=pa.array(chosen, pa.string()))
            selection.leave_out(pc.invert(chosen_rows), "random-classes")
        if settings.balance is not None and selection.kept:
            _balance(selection, settings, settings.balance, parquet.files, among)
        if any(part is not None for part in (settings.trim_tail, like, settings.per_class, settings.sample)):
            _sample(selection, settings, like)
    if not selection.kept:
        steps = ", ".join(f"{step} {count:,}" for step, count in selection.counts().items())
        raise InputError(
            f"nothing in {shards.dataset} matches (left out by {steps or 'nothing: it has no rows'}); "
            "take back a condition, or check its spelling"
        )
    return selection


def _denied(shards: Sequence[Place], denylist: Denylist) -> Iterator[tuple[int, str]]:
    start = 0
    for batch in read_files(shards, columns=["image_id", "photo_id", "owner", "photo_page"]):
        reasons = denylist.reasons(batch).to_pylist()
        yield from ((start + at, why) for at, why in enumerate(reasons) if why)
        start += len(batch)


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


def _read_ids(path: Place) -> pa.Array:
    """Read a text file with one image id per line, in any form that `image_ids.image_id` knows."""
    try:
        lines = require_file(path, "the file of ids").read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not a text file; give one with an image id per line") from None
    found = {number: image_id(line.strip()) for number, line in enumerate(lines, 1) if line.strip()}
    for number, canonical in found.items():
        if canonical is None:
            raise InputError(
                f"{path}, line {number}: {quoted(lines[number - 1])} is not an image id; give one such as "
                "n01440764_10026"
            )
    if not found:
        raise InputError(f"{path} holds no image id; give one a line")
    return pa.array(found.values(), pa.string())


class _Inputs(msgspec.Struct):
    dataset: str
    weights: str


class _Settings(msgspec.Struct):
    model: str


class ScoresOrigin(msgspec.Struct):
    """The dataset that was scored, by the digest of its manifest, and the model."""

    inputs: _Inputs
    settings: _Settings


def read_origin(scores: Place) -> ScoresOrigin:
    """Return what a file of scores says of itself. Raises InputError if `score` did not write it."""
    schema = read_schema(require_file(scores, "the file of scores"))
    if not set(SCORES) <= set(schema) or "inputs" not in provenance(schema):
        raise InputError(f"{scores} was not written by `imagenet-captions score`; give a file that was")
    return checked(provenance(schema), ScoresOrigin, f"the file of scores {scores}")


def _by_score(selection: Selection, settings: FilterSettings, file: Place, shards: Shards) -> None:
    """Leave out the rows without a score, those that are not above the limit, and those outside the highest share.

    Raises InputError for scores of another dataset, except those of the one that this one was filtered from.
    """
    of = read_origin(file).inputs.dataset
    scores = read_table(file, ["image_id", "similarity"])
    if not pc.all(pc.is_finite(scores["similarity"]), min_count=0).as_py():
        raise InputError(f"{file} has similarities that are not numbers; score the dataset again")
    if len(scores["image_id"].unique()) != len(scores):
        raise InputError(f"{file} has an id twice; score the dataset again")
    at = pc.index_in(selection.ids, value_set=scores["image_id"].combine_chunks())
    found: Floats = scores["similarity"].take(at).to_numpy().astype(np.float64)
    without = np.isnan(found)
    if of not in (shards.digest, shards.manifest.inputs.get("parent")) or without.all():
        raise InputError(
            f"{file} has the scores of another dataset than {shards.dataset}, with {np.sum(~without):,} of its "
            f"{len(found):,} ids; score this one, or the one that it was filtered from"
        )
    if lacking := int(np.count_nonzero(without & (selection.ended == KEPT))):
        log.info("%s of %s rows have no score and are left out", f"{lacking:,}", f"{selection.kept:,}")
    selection.leave_out(without, "no-score")
    if settings.score_above is not None:
        selection.leave_out(~(found > settings.score_above), "score-above")
    if settings.score_top is not None:
        rows = selection.rows()
        order = np.lexsort(
            (np.array(selection.kept_ids().to_pylist()), -found[rows])
        )  # of equal ones the lower id wins
        selection.ended[rows[order[round(settings.score_top * len(rows)) :]]] = STEPS.index("score-top")


# MetaCLIP's balanced sampling, of Xu et al., "Demystifying CLIP Data" (ICLR 2024, arXiv:2309.16671), keeps a text with
# probability 1 - prod(1 - min(1, T / count)) over the entries that it matches. Here an entry is a class that the texts
# name, or the row's own class.


def _balance(
    selection: Selection, settings: FilterSettings, threshold: int, shards: Sequence[str], among: ClassSet
) -> None:
    """Leave out rows that match only frequent entries; the log has the tail curve.

    Raises InputError if none of the rows matches an entry.
    """
    kept = selection.rows()
    if settings.by == "class":
        known = pa.array(classes.wnids(among), pa.string())
        rows = kept
        entries = pc.index_in(wnids_of(selection.kept_ids()), value_set=known).to_numpy().astype(np.int64)
    else:
        rows, entries = _mentions(shards, selection.ended == KEPT)
    if not len(rows):
        raise InputError("no row mentions a class, so `balance` has nothing to count; give `by='class'`")
    size = len(classes.wnids(among))
    before = np.bincount(entries, minlength=size)
    wanted = keep_probabilities(rows, entries, before, threshold, len(selection.ended))
    chances = np.array([sampling_chance(each, settings.seed) for each in selection.kept_ids().to_pylist()])
    selection.ended[kept[chances >= wanted[kept]]] = STEPS.index("balance")
    after = np.bincount(entries[selection.ended[rows] == KEPT], minlength=size)
    log.info("%s", format_tail(before, after, threshold))


def _mentions(shards: Sequence[str], remaining: Flags) -> tuple[Integers, Integers]:
    """Return the row and the label of every mention in the remaining rows."""
    rows, entries = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    start = 0
    for batch in read_files(shards, columns=["mentions"]):
        labels = pc.split_pattern(pc.utf8_trim_whitespace(batch[0]), " ")
        row = start + pc.list_parent_indices(labels).to_numpy().astype(np.int64)
        entry = pc.list_flatten(labels)
        wanted = remaining[row] & pc.not_equal(entry, "").to_numpy(zero_copy_only=False)
        rows.append(row[wanted])
        entries.append(entry.filter(pa.array(wanted)).cast(pa.int64()).to_numpy())
        start += len(batch)
    return np.concatenate(rows), np.concatenate(entries)


def keep_probabilities(rows: Integers, entries: Integers, counts: Integers, threshold: int, size: int) -> Floats:
    """Return the probability to keep each of `size` rows; row `rows[i]` matches entry `entries[i]`.

    >>> keep_probabilities(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([40, 20]), 10, size=3).round(3)
    array([0.25 , 0.625, 0.   ])
    """
    with np.errstate(divide="ignore"):  # an entry with at most `threshold` matches keeps all of its rows
        logs = np.log1p(-np.minimum(1, threshold / counts))
    return 0 - np.expm1(np.bincount(rows, weights=logs[entries], minlength=size))


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


def _sample(selection: Selection, settings: FilterSettings, like: Mapping[str, int] | None) -> None:
    """Leave out the rows that are not sampled; the ids of the remaining rows are held in memory."""
    ids, sizes = selection.kept_ids().to_pylist(), selection.classes()
    left_out = choose(ids, settings, like)
    selection.ended[selection.rows()] = [STEPS.index(left_out.get(each, "kept")) for each in ids]
    if like and (short := sum(sizes.get(wnid, 0) < wanted for wnid, wanted in like.items())):
        log.info("%s of %s classes have fewer rows than the table asks for", f"{short:,}", f"{len(like):,}")
    sample = None if settings.sample is None else parse_sample(settings.sample)
    if isinstance(sample, int) and (kept := selection.kept) and kept < sample:
        log.info("only %s rows are there for a sample of %s", f"{kept:,}", f"{sample:,}")
