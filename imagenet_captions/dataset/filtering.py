"""Filter a dataset: select rows step by step, and write them as a list of ids or as a smaller dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, groupby, repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset import sampling, writing
from imagenet_captions.dataset.loading import check_condition, of_shards
from imagenet_captions.dataset.settings import FilterSettings, parse_below, parse_sample
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.engines.local import LOCAL, check_workers
from imagenet_captions.errors import InputError, aligned
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import wnids_of
from imagenet_captions.images.tables import byte_ranges_in_shards
from imagenet_captions.outcomes import OUTCOMES_FILE, Outcome
from imagenet_captions.schema import RAW_ROW, SCORES, provenance
from imagenet_captions.storage.files import require_file, sha256
from imagenet_captions.storage.outputs import (
    producing,
    producing_folder,
    record_path,
    write_record,
)
from imagenet_captions.storage.parquet import (
    TEXT_ROWS,
    read_files,
    read_metadata,
    read_schema,
    read_table,
    reading,
)
from imagenet_captions.storage.places import Place, PlaceLike, is_only_here, place
from imagenet_captions.storage.progress import Bar, progress

if TYPE_CHECKING:
    from pyarrow.compute import Expression

log = logging.getLogger(__name__)

KEPT, DENIED = 0, 1
_BELOW = "score-below"  # a step for each of its limits
STEPS = (
    *("kept", "denied", "condition", "ids", "no-score", "score-above", _BELOW, "score-top"),
    *("random-classes", "balance", "trim-tail", "like", "per-class", "sample"),
)

_BYTES_AT_ONCE = 64 << 20  # of row groups that are requested together
_ROWS_AT_ONCE = 20_000  # of a few short columns

Integers = npt.NDArray[np.int64]


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
    check_workers(workers)
    if out is not None and out_ids is None:
        return filter_to_dataset(place(dataset), place(out), settings, workers)
    if out_ids is not None and out is None:
        return filter_to_ids(place(dataset), place(out_ids), settings, overwrite)
    raise InputError("a filter writes one thing: give `out` DATASET, or `out_ids` FILE for a list of ids")


def filter_to_ids(dataset: Place, out: Place, settings: FilterSettings, overwrite: bool = False) -> dict[str, int]:
    """Write the ids that a filter keeps, sorted, one per line, and beside them OUT.json with the filter.

    Returns the number of rows kept, and of those left out by each step.
    """
    for name in ("local_labels", "without_images", "shuffle"):
        if (value := getattr(settings, name)) is not None and value is not False:
            raise InputError(f"`{name}` needs `out`; a list of ids is sorted, without labels and images")
    inputs = [dataset, *settings.files()]
    with (
        producing([out], inputs, overwrite, [record_path(out)]) as (record, ids_file),
        Shards(dataset).unchanged() as shards,
    ):
        selection = select(shards, settings)
        with ids_file.open("w", encoding="utf-8", newline="") as opened:
            ids = sorted(selection.kept_ids().to_pylist())
            opened.writelines(f"{image_id}\n" for image_id in ids)
        counts = selection.counts()
        about = {"parent": shards.digest, "filter": settings.as_given(), "counts": counts}
        write_record(record, {out.name: (sha256(ids_file), ids_file.stat().st_size)}, about)
    return counts


def filter_to_dataset(dataset: Place, out: Place, settings: FilterSettings, workers: int) -> dict[str, int]:
    """Write the rows that a filter keeps as a dataset folder, as a whole or not at all.

    Its manifest names the parent by the SHA-256 of the parent's manifest. Its outcomes are those of the parent; rows
    that were left out are `filtered`. Returns the number of rows kept, and of those left out by each step.
    """
    with producing_folder(out, [dataset, *settings.files()]) as folder, Shards(dataset).unchanged() as shards:
        parent = shards.manifest
        if settings.without_images and parent.images is None:
            raise InputError(f"{dataset} has no images; leave out `without_images`")
        selection = select(shards, settings)
        jobs = list(_jobs(shards, folder, selection, settings))
        written: list[writing.ShardFile] = []
        alone = is_only_here(folder) or is_only_here(dataset)
        with progress("write", selection.kept, "rows") as bar:
            for shard in LOCAL.run(writing.write_shard, jobs, min(workers, len(jobs)), threads=alone):
                for row, fault in shard.faults.items():
                    raise InputError(f"the image {selection.ids[row]} cannot be used ({fault}); package it again")
                written.append(shard)
                bar.update(sum(each.rows for each in written) // 2 - bar.n)  # both configs have each row
        _write_outcomes(shards, folder, selection)
        recorded = {**parent.settings, "filter": [*parent.settings.get("filter", []), settings.as_given()]}
        if parent.images is None or settings.without_images:
            recorded["missing"] = None
        writing.finish_dataset(folder, written, {**parent.inputs, "parent": shards.digest}, recorded, parent.measured)
    return selection.counts()


@dataclass(frozen=True)
class Selection:
    """The result of a filter: for every row its index in `steps`, and for denied rows the reason."""

    steps: Sequence[str]
    texts: Sequence[Place]  # the shards of the config `raw`: the same rows in few row groups, since they have no images
    ended: npt.NDArray[np.int8]
    denied: dict[int, str]

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """The ids of all rows, in the order of the dataset."""
        batches = read_files(self.texts, columns=["image_id"])
        return pa.chunked_array((batch[0] for batch in batches), pa.string())

    def leave_out(self, rows: Any, step: str) -> None:
        """Leave out the rows of a mask that are still kept."""
        self.ended[np.asarray(rows, bool) & (self.ended == KEPT)] = self.steps.index(step)

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
        return writing.count_values(wnids_of(self.kept_ids()))

    def counts(self) -> dict[str, int]:
        """Return the number of rows kept, denied, and left out by each step."""
        found = np.bincount(self.ended, minlength=len(self.steps))
        return {name: int(count) for name, count in zip(self.steps, found, strict=True) if count}


def select(shards: Shards, settings: FilterSettings) -> Selection:
    """Apply a filter, always in the order of `STEPS`.

    Raises InputError if no row is left.
    """
    among, total, dataset = shards.manifest.classes, shards.rows, shards.dataset
    condition = settings.row_condition(among)
    like = None if settings.like is None else sampling.read_counts(settings.like, among)
    data, texts = shards.files(), shards.files("raw")
    if (rows := sum(read_metadata(shard).num_rows for shard in texts)) != total:
        raise InputError(f"{dataset} has {rows:,} rows, and its manifest says {total:,}; package it again")
    limits = [f"{_BELOW} {limit}" for limit in settings.score_below]
    names = [name for step in STEPS for name in (limits if step == _BELOW else [step])]
    selection = Selection(names, texts, np.zeros(total, np.int8), {})
    ended = selection.ended
    with progress("select", total, "rows") as bar:
        if settings.deny:
            start = 0
            for batch in read_files(texts, columns=["image_id", "photo_id", "owner", "photo_page"]):
                reasons = enumerate(settings.deny.reasons(batch).to_pylist(), start)
                selection.denied.update((row, why) for row, why in reasons if why)
                start += len(batch)
            ended[list(selection.denied)] = DENIED
        if condition is not None:
            selection.leave_out(~_passing(shards, condition, bar), "condition")
        if settings.ids is not None:
            listed = pc.is_in(selection.ids, value_set=sampling.read_ids(settings.ids))
            selection.leave_out(pc.invert(listed), "ids")
        if settings.scores is not None:
            _by_score(selection, settings, settings.scores, shards)
        if settings.random_classes is not None and selection.kept:
            chosen = sampling.random_classes(list(selection.classes()), settings.random_classes, settings.seed)
            chosen_rows = pc.is_in(wnids_of(selection.ids), value_set=pa.array(chosen, pa.string()))
            selection.leave_out(pc.invert(chosen_rows), "random-classes")
        if settings.balance is not None and selection.kept:
            _balance(selection, settings, settings.balance, data, classes.wnids(among))
        if any(limit is not None for limit in (settings.trim_tail, like, settings.per_class, settings.sample)):
            ids, sizes = selection.kept_ids().to_pylist(), selection.classes()
            left_out = sampling.choose(ids, settings, like)
            ended[selection.rows()] = [names.index(left_out.get(each, "kept")) for each in ids]
            short = sum(sizes.get(wnid, 0) < wanted for wnid, wanted in (like or {}).items())
            if like and short:
                told = f"{short:,} of {len(like):,} classes"
                log.info("%s have fewer rows than the table asks for", told)
            sample = None if settings.sample is None else parse_sample(settings.sample)
            if isinstance(sample, int) and (kept := selection.kept) and kept < sample:
                log.info("only %s rows are there for a sample of %s", f"{kept:,}", f"{sample:,}")
    if not selection.kept:
        steps = ", ".join(f"{step} {count:,}" for step, count in selection.counts().items())
        raise InputError(
            f"nothing in {dataset} matches (left out by {steps or 'nothing: it has no rows'}); "
            "take back a condition, or check its spelling"
        )
    return selection


def _passing(shards: Shards, condition: Expression, bar: Bar) -> npt.NDArray[np.bool_]:
    """Return a mask of the rows that pass; row groups that cannot have any, by their statistics, are not read."""
    schema, config = shards.schema(), "data"
    check_condition(schema, condition, shards.dataset)
    with suppress(InputError):  # both configs have ids and origins, and those of `raw` are in fewer row groups
        columns = [column for column in schema if column.name in RAW_ROW.names and column.name not in writing.TEXTS]
        check_condition(pa.schema(columns), condition, shards.dataset)
        schema, config = pa.schema(columns), "raw"
    flags = np.zeros(shards.rows, bool)
    start = 0
    for file in shards.files(config):
        # A new fragment for each shard, because a fragment keeps its footer, and many footers add up.
        with reading(file):
            (fragment,) = of_shards([file]).get_fragments()
            possible = {group.id for group in fragment.subset(condition).row_groups}
            groups = fragment.row_groups
            ends = accumulate(group.total_byte_size for group in groups)
            # Neighboring groups that are all possible, or all not, in runs of about so many bytes.
            keys = [(group.id in possible, end // _BYTES_AT_ONCE) for group, end in zip(groups, ends, strict=True)]
            for (wanted, _), run in groupby(range(len(groups)), key=keys.__getitem__):
                numbers = list(run)
                rows = sum(groups[number].num_rows for number in numbers)
                if wanted:
                    # All rows of these groups: a scanner that filters does not report which rows it left out.
                    part = fragment.subset(row_group_ids=numbers)
                    found = part.to_table(schema=schema, columns={"keep": condition})
                    flags[start : start + rows] = pc.fill_null(found["keep"], False).to_numpy()
                start += rows
                bar.update(rows)
    return flags


def read_origin(scores: Place) -> tuple[str, str, str]:
    """Return the digests of the dataset that was scored and of the weights, and the model.

    Raises InputError if `score` did not write the file.
    """
    schema = read_schema(require_file(scores, "the file of scores"))
    origin = provenance(schema)
    try:
        found = origin["inputs"]["dataset"], origin["inputs"]["weights"], origin["settings"]["model"]
    except (KeyError, TypeError):
        found = None
    if found is None or not set(SCORES) <= set(schema):
        raise InputError(f"{scores} was not written by `imagenet-captions score`; give a file that was")
    return found


def _by_score(selection: Selection, settings: FilterSettings, file: Place, shards: Shards) -> None:
    """Leave out the rows without a score, those that are not above the limit, and those outside the highest share.

    Raises InputError for scores of another dataset, except those of the one that this one was filtered from.
    """
    of, _, _ = read_origin(file)
    limits = {text: parse_below(text) for text in settings.score_below}
    numbers = [field.name for field in read_schema(file) if pa.types.is_floating(field.type)]
    for text, (column, _) in limits.items():
        if column not in numbers:
            raise InputError(f"`score_below` {text}: {file} has no such column; it has {', '.join(numbers)}")
    scores = read_table(file, sorted({"image_id", "similarity", *(column for column, _ in limits.values())}))
    if not pc.all(pc.is_finite(scores["similarity"]), min_count=0).as_py():
        raise InputError(f"{file} has similarities that are not numbers; score the dataset again")
    if len(scores["image_id"].unique()) != len(scores):
        raise InputError(f"{file} has an id twice; score the dataset again")
    at = pc.index_in(selection.ids, value_set=scores["image_id"].combine_chunks())
    found: npt.NDArray[np.float64] = scores["similarity"].take(at).to_numpy().astype(np.float64)
    without = np.isnan(found)
    if of not in (shards.digest, shards.manifest.inputs.get("parent")) or without.all():
        raise InputError(
            f"{file} has the scores of another dataset than {shards.dataset}, with {np.sum(~without):,} of its "
            f"{len(found):,} ids; score this one, or the one that it was filtered from"
        )
    if lacking := int(np.count_nonzero(without & (selection.ended == KEPT))):
        told = f"{lacking:,} of {selection.kept:,} rows"
        log.info("%s have no score and are left out", told)
    selection.leave_out(without, "no-score")
    if settings.score_above is not None:
        selection.leave_out(~(found > settings.score_above), "score-above")
    for text, (column, limit) in limits.items():
        selection.leave_out(~(scores[column].take(at).to_numpy() < limit), f"{_BELOW} {text}")
    if settings.score_top is not None:
        rows = selection.rows()
        ids = np.array(selection.kept_ids().to_pylist())
        order = np.lexsort((ids, -found[rows]))  # of equal ones the lower id wins
        beyond = rows[order[round(settings.score_top * len(rows)) :]]
        selection.ended[beyond] = selection.steps.index("score-top")


def _balance(
    selection: Selection, settings: FilterSettings, threshold: int, data: Sequence[Place], wnids: Sequence[str]
) -> None:
    """Leave out rows that match only frequent entries.

    This is MetaCLIP's balanced sampling, of Xu et al., "Demystifying CLIP Data" (ICLR 2024, arXiv:2309.16671), which
    keeps a text with probability 1 - prod(1 - min(1, T / count)) over the entries that it matches. An entry is a class
    that the texts name, or the row's own class. Raises InputError if no row matches an entry.
    """
    kept = selection.rows()
    if settings.by == "class":
        rows, known = kept, pa.array(wnids, pa.string())
        entries = pc.index_in(wnids_of(selection.kept_ids()), value_set=known).to_numpy().astype(np.int64)
    else:
        column = pa.chunked_array((batch[0] for batch in read_files(data, columns=["mentions"])), pa.string())
        labels = pc.split_pattern(pc.utf8_trim_whitespace(column.take(kept).combine_chunks()), " ")
        named = pc.not_equal(pc.list_flatten(labels), "")
        rows = kept[pc.list_parent_indices(labels).filter(named).to_numpy()]
        entries = pc.list_flatten(labels).filter(named).cast(pa.int64()).to_numpy()
    if not len(rows):
        raise InputError("no row mentions a class, so `balance` has nothing to count; give `by='class'`")
    before = np.bincount(entries, minlength=len(wnids))
    with np.errstate(divide="ignore"):  # an entry with at most `threshold` matches keeps all of its rows
        logs = np.log1p(-np.minimum(1, threshold / before))
    wanted = -np.expm1(np.bincount(rows, weights=logs[entries], minlength=len(selection.ended)))
    ids = selection.kept_ids().to_pylist()
    chances = np.array([sampling.sampling_chance(image_id, settings.seed) for image_id in ids])
    selection.ended[kept[chances >= wanted[kept]]] = selection.steps.index("balance")
    after = np.bincount(entries[selection.ended[rows] == KEPT], minlength=len(wnids))
    head = before > threshold
    shares = (f"{counts[head].sum() / max(1, counts.sum()):.1%}" for counts in (before, after))
    told = "%s entries have more than %s matches; of all matches they had %s, and have %s"
    log.info(told, head.sum(), threshold, *shares)


def _jobs(dataset: Shards, folder: Place, selection: Selection, settings: FilterSettings) -> Iterator[writing.ShardJob]:
    """Yield the shards of both configs: the kept rows in the order of the parent, or in the order of a seed."""
    rows, counted = selection.rows(), selection.classes()
    reordered = settings.shuffle is not None
    ids: list[str] = []
    if settings.shuffle is not None:
        ids = selection.kept_ids().to_pylist()
        order = sampling.seeded_order(ids, settings.shuffle)
        rows, ids = rows[order], [ids[row] for row in order.tolist()]
    for raw in (False, True):
        config = "raw" if raw else "data"
        starts = list(accumulate(dataset.manifest.shards(config).values(), initial=0))[:-1]
        parents = list(zip(starts, dataset.files(config), strict=True))
        before = schema = dataset.schema(config)
        if settings.without_images and "image" in before.names:
            schema = writing.without_images(schema)
        # Labels that are already local would otherwise name classes without rows.
        if settings.local_labels or writing.local_labels(schema) is not None:
            schema = writing.with_local_labels(schema, sorted(counted))
        images = "image" in schema.names
        columns = [name for name in before.names if name != "image" or (images and not reordered)]
        sizes = _row_sizes(parents, rows, images)
        if not reordered and dataset.manifest.shuffled is None:
            wnids = chain.from_iterable(repeat(wnid, count) for wnid, count in counted.items())
            shards = writing.plan_shards(writing.plan_groups(wnids, sizes, 1 if images else TEXT_ROWS))
        elif settings.shards is not None and settings.shards > len(sizes):
            raise InputError(
                f"`shards` is {settings.shards:,}, but only {len(sizes):,} rows are left; give at most so many"
            )
        else:
            shards = writing.plan_shuffled(sizes, settings.shards, None if images else TEXT_ROWS)
        found = byte_ranges_in_shards([path for _, path in parents]) if images and reordered else None
        for number, groups in enumerate(shards):
            part = slice(groups[0].start, groups[-1].stop)
            needed = np.unique(np.searchsorted(starts, rows[part], side="right") - 1)
            ranges = None if found is None else [found.get(image_id) for image_id in ids[part]]
            yield writing.ShardJob(
                [parents[at] for at in needed],
                columns,
                folder,
                writing.shard_name(raw, number, len(shards)),
                schema,
                [rows[group.start : group.stop] for group in groups],
                ranges,
            )


def _row_sizes(parents: Sequence[tuple[int, Place]], rows: Integers, images: bool) -> list[int]:
    """Return the approximate size of each of these rows in bytes, with or without its image: the group's average."""
    stops, sizes = [0], [0]
    for _, path in parents:
        metadata = read_metadata(path)
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            stops.append(stops[-1] + group.num_rows)
            columns = map(group.column, range(group.num_columns))
            texts = (each for each in columns if not each.path_in_schema.startswith("image."))
            size = group.total_byte_size if images else sum(each.total_uncompressed_size for each in texts)
            sizes.append(max(1, size // max(1, group.num_rows)))
    found: list[int] = np.array(sizes, np.int64)[np.searchsorted(stops, rows, side="right")].tolist()
    return found


def _write_outcomes(shards: Shards, folder: Place, selection: Selection) -> None:
    """Write the outcomes of the parent, changed for the rows that were left out; outcomes are sorted by id."""
    ended = selection.ended.tolist()
    rows = range(len(ended))
    if shards.manifest.shuffled is not None:
        rows = pc.sort_indices(selection.ids).to_pylist()

    def batches(kept: bool) -> Iterator[pa.RecordBatch]:
        for batch in read_files([shards.outcomes], _ROWS_AT_ONCE):
            was_kept = pc.equal(batch["outcome"], Outcome.KEPT.value)
            yield batch.filter(was_kept if kept else pc.invert(was_kept))

    def end_of(at: int) -> tuple[Outcome, str] | None:
        row = rows[at]
        if ended[row] == KEPT:
            return None
        denied = selection.denied.get(row)
        return (Outcome.FILTERED, selection.steps[ended[row]]) if denied is None else (Outcome.DENIED, denied)

    tables = writing.outcome_tables(batches(kept=True), end_of)
    writing.write_outcomes(folder / OUTCOMES_FILE, tables, batches(kept=False))


def format_counts(counts: Mapping[str, Any]) -> str:
    """Return the numbers of rows kept and left out, as a text table.

    >>> print(format_counts({"kept": 12, "condition": 1200}))
    kept                      12
    left out by condition  1,200
    """
    rows = [("kept" if name == "kept" else f"left out by {name}", count) for name, count in counts.items()]
    return "\n".join(aligned([[name, f"{count:,}"] for name, count in rows]))
