"""Filter a dataset: select rows step by step, and write them as a list of ids or as a smaller dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import accumulate, tee
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

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
from imagenet_captions.storage.outputs import producing, producing_folder, record_path, write_record
from imagenet_captions.storage.parquet import (
    TEXT_ROWS,
    neighbors,
    read_files,
    read_metadata,
    read_schema,
    read_table,
    reading,
)
from imagenet_captions.storage.places import Place, PlaceLike, is_only_here, is_remote, place
from imagenet_captions.storage.progress import Bar, progress

if TYPE_CHECKING:
    from pyarrow.compute import Expression

log = logging.getLogger(__name__)

_KEPT = 0
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

    `out` is a dataset folder; an existing dataset is replaced. Its manifest names the parent by the SHA-256 of the
    parent's manifest, and its outcomes are those of the parent, with `filtered` for the rows that were left out.
    `out_ids` is a text file with one id per line, sorted; its record is written beside it, and `overwrite` allows
    replacing a file that exists. Several `workers` are processes, so a script has to call this function under
    `if __name__ == "__main__":`.

    Returns the number of rows kept, and of those left out by each step. Raises InputError if no row is left.
    """
    if not isinstance(keep, (FilterSettings, pc.Expression)):
        raise InputError(f"`keep` must be a condition such as `in_class('dog')`, or FilterSettings, not {keep!r:.80}")
    settings = keep if isinstance(keep, FilterSettings) else FilterSettings(condition=keep)
    check_workers(workers)
    if (out is None) == (out_ids is None):
        raise InputError("a filter writes one thing: give `out` DATASET, or `out_ids` FILE for a list of ids")
    parent = place(dataset)
    inputs = [parent, *settings.files()]
    if out is not None:
        with producing_folder(place(out), inputs) as folder, Shards(parent).unchanged() as shards:
            return _write_dataset(shards, folder, settings, workers)
    for name in ("local_labels", "without_images", "shuffle"):
        if (value := getattr(settings, name)) is not None and value is not False:
            raise InputError(f"`{name}` needs `out`; a list of ids is sorted, without labels and images")
    ids_file = place(out_ids or "")
    with (
        producing([ids_file], inputs, overwrite, [record_path(ids_file)]) as (record, new),
        Shards(parent).unchanged() as shards,
    ):
        selection = select(shards, settings)
        ids = sorted(selection.kept_ids().to_pylist())
        new.write_text("".join(f"{image_id}\n" for image_id in ids), "utf-8")
        counts = selection.counts()
        about = {"parent": shards.digest, "filter": settings.as_given(), "counts": counts}
        write_record(record, {ids_file.name: (sha256(new), new.stat().st_size)}, about)
        return counts


def _write_dataset(shards: Shards, folder: Place, settings: FilterSettings, workers: int) -> dict[str, int]:
    parent = shards.manifest
    if settings.without_images and parent.images is None:
        raise InputError(f"{shards.dataset} has no images; leave out `without_images`")
    selection = select(shards, settings)
    jobs = list(_jobs(shards, folder, selection, settings))
    written: list[writing.ShardFile] = []
    alone = is_only_here(folder) or is_only_here(shards.dataset)
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
    inputs = {**parent.inputs, "parent": shards.digest}
    writing.finish_dataset(folder, written, inputs, recorded, parent.measured)
    return selection.counts()


class Selection:
    """The rows that are kept so far; for every other row the step that left it out, and for denied rows the reason."""

    def __init__(self, texts: Sequence[Place], rows: int) -> None:
        # Shards of the config `raw`: the same rows in few row groups, since they have no images.
        self._texts = texts
        self.steps = ["kept"]
        self.ended = np.full(rows, _KEPT, np.int8)  # indices of `steps`
        self.denied: dict[int, str] = {}

    @cached_property
    def ids(self) -> pa.ChunkedArray:
        """The ids of all rows, in the order of the dataset."""
        batches = read_files(self._texts, columns=["image_id"])
        return pa.chunked_array((batch[0] for batch in batches), pa.string())

    def leave_out(self, rows: Any, step: str) -> None:
        """Leave out the rows of a mask, or with these numbers, that are still kept."""
        chosen = np.zeros(len(self.ended), bool)
        chosen[np.asarray(rows)] = True
        self.ended[chosen & (self.ended == _KEPT)] = len(self.steps)
        self.steps.append(step)

    @property
    def kept(self) -> int:
        """Return the number of kept rows."""
        return len(self.rows())

    def rows(self) -> Integers:
        """Return the row numbers of the kept rows."""
        return np.flatnonzero(self.ended == _KEPT)

    def kept_ids(self) -> pa.ChunkedArray:
        """Return the ids of the kept rows, in the order of the dataset."""
        return self.ids.filter(pa.array(self.ended == _KEPT))

    def classes(self) -> dict[str, int]:
        """Return the number of kept rows of each class that has any, in the order of the rows."""
        return writing.count_values(wnids_of(self.kept_ids()))

    def counts(self) -> dict[str, int]:
        """Return the number of rows kept, and left out by each step."""
        found = np.bincount(self.ended, minlength=len(self.steps))
        return {name: int(count) for name, count in zip(self.steps, found, strict=True) if count}


def select(shards: Shards, settings: FilterSettings) -> Selection:
    """Apply the steps of a filter, always in the same order.

    Raises InputError if no row is left.
    """
    among, total, dataset = shards.manifest.classes, shards.rows, shards.dataset
    condition = settings.row_condition(among)
    like = None if settings.like is None else sampling.read_counts(settings.like, among)
    texts = shards.files("raw")
    if (rows := sum(read_metadata(shard).num_rows for shard in texts)) != total:
        raise InputError(f"{dataset} has {rows:,} rows, and its manifest says {total:,}; package it again")
    selection = Selection(texts, total)
    with progress("select", total, "rows") as bar:
        if settings.deny:
            start = 0
            for batch in read_files(texts, columns=["image_id", "photo_id", "owner", "photo_page"]):
                reasons = enumerate(settings.deny.reasons(batch).to_pylist(), start)
                selection.denied.update((row, why) for row, why in reasons if why)
                start += len(batch)
            selection.leave_out(np.array([*selection.denied], np.int64), "denied")
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
            _balance(selection, settings, settings.balance, shards)
        if any(limit is not None for limit in (settings.trim_tail, like, settings.per_class, settings.sample)):
            ids, kept_rows = selection.kept_ids().to_pylist(), selection.rows()
            sizes = selection.classes()
            left_out = sampling.choose(ids, settings, like)
            for step in ("trim-tail", "like", "per-class", "sample"):
                selection.leave_out(kept_rows[[left_out.get(each) == step for each in ids]], step)
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
    masks = [np.zeros(0, bool)]
    for file in shards.files(config):
        # A new fragment for each shard, because a fragment keeps its footer, and many footers add up.
        with reading(file):
            (fragment,) = of_shards([file]).get_fragments()
            groups, sizes = fragment.row_groups, [group.num_rows for group in fragment.row_groups]
            possible = {group.id for group in fragment.subset(condition).row_groups}
            mask = np.repeat([group.id in possible for group in groups], sizes).astype(bool)
            if possible:
                if is_remote(file):
                    texts = [name for name in fragment.physical_schema.names if name != "image"]
                    parts = neighbors(fragment.metadata, sorted(possible), texts)
                    (fragment,) = of_shards([file], parts).get_fragments()
                part = fragment.subset(row_group_ids=sorted(possible))
                # All rows of these groups: a scanner that filters does not report which rows it left out. It holds
                # about two groups, since those with images are large; a buffer would hold all that was read of a shard.
                how = {"batch_size": max(sizes), "batch_readahead": 2}
                how["fragment_scan_options"] = pads.ParquetFragmentScanOptions(pre_buffer=False)
                found = part.to_table(schema=schema, columns={"keep": condition}, **how)
                mask[mask] = pc.fill_null(found["keep"], False).to_numpy()
        masks.append(mask)
        bar.update(len(mask))
    return np.concatenate(masks)


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
    if lacking := int(np.count_nonzero(without & (selection.ended == _KEPT))):
        told = f"{lacking:,} of {selection.kept:,} rows"
        log.info("%s have no score and are left out", told)
    selection.leave_out(without, "no-score")
    if settings.score_above is not None:
        selection.leave_out(~(found > settings.score_above), "score-above")
    for text, (column, limit) in limits.items():
        selection.leave_out(~(scores[column].take(at).to_numpy() < limit), f"score-below {text}")
    if settings.score_top is not None:
        rows = selection.rows()
        ids = np.array(selection.kept_ids().to_pylist())
        order = np.lexsort((ids, -found[rows]))  # of equal ones the lower id wins
        selection.leave_out(rows[order[round(settings.score_top * len(rows)) :]], "score-top")


def _balance(selection: Selection, settings: FilterSettings, threshold: int, shards: Shards) -> None:
    """Leave out rows that match only frequent entries.

    This is MetaCLIP's balanced sampling, of Xu et al., "Demystifying CLIP Data" (ICLR 2024, arXiv:2309.16671), which
    keeps a text with probability 1 - prod(1 - min(1, T / count)) over the entries that it matches. An entry is a class
    that the texts name, or the row's own class. Raises InputError if no row matches an entry.
    """
    kept, wnids = selection.rows(), classes.wnids(shards.manifest.classes)
    if settings.by == "class":
        rows, known = kept, pa.array(wnids, pa.string())
        entries = pc.index_in(wnids_of(selection.kept_ids()), value_set=known).to_numpy().astype(np.int64)
    else:
        batches = read_files(shards.files(), columns=["mentions"])
        column = pa.chunked_array((batch[0] for batch in batches), pa.string())
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
    selection.leave_out(kept[chances >= wanted[kept]], "balance")
    after = np.bincount(entries[selection.ended[rows] == _KEPT], minlength=len(wnids))
    head = before > threshold
    shares = (f"{counts[head].sum() / max(1, counts.sum()):.1%}" for counts in (before, after))
    told = "%s entries have more than %s matches; of all matches they had %s, and have %s"
    log.info(told, head.sum(), threshold, *shares)


def _jobs(dataset: Shards, folder: Place, selection: Selection, settings: FilterSettings) -> Iterator[writing.ShardJob]:
    """Yield the shards of both configs: the kept rows in the order of the parent, or in the order of a seed."""
    manifest, rows, counted = dataset.manifest, selection.rows(), selection.classes()
    if settings.shuffle is not None:
        rows = rows[sampling.seeded_order(selection.kept_ids().to_pylist(), settings.shuffle)]
    if settings.shards is not None and settings.shards > len(rows):
        told = f"`shards` is {settings.shards:,}, but only {len(rows):,} rows are left"
        raise InputError(f"{told}; give at most so many")
    for config in ("data", "raw"):
        starts = list(accumulate(manifest.shards(config).values(), initial=0))[:-1]
        parents = list(zip(starts, dataset.files(config), strict=True))
        images = config == "data" and manifest.images is not None and not settings.without_images
        sizes = _row_sizes(parents, rows, images)
        if settings.shuffle is None and manifest.shuffled is None:
            groups = writing.plan_groups(counted.items(), sizes, 1 if images else TEXT_ROWS)
            shards = writing.plan_shards(groups)
        else:
            shards = writing.plan_shuffled(sizes, settings.shards, None if images else TEXT_ROWS)
        ranges = None
        if images and settings.shuffle is not None:
            found = byte_ranges_in_shards([path for _, path in parents])
            ranges = [found.get(image_id) for image_id in selection.ids.to_pylist()]
        before = dataset.schema(config)
        row = [column for column in before if column.name not in ("label_original", "image")]
        # Labels that are already local would otherwise name classes without rows.
        is_local = settings.local_labels or "label_original" in before.names
        local = sorted(counted) if is_local else None
        schema = writing.dataset_schema(row, images, manifest.classes, local)
        chosen = [[rows[start:stop] for start, stop, _ in shard] for shard in shards]
        yield from writing.shard_jobs(folder, config, schema, parents, chosen, ranges)


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

    def end_of(at: int) -> tuple[Outcome, str] | None:
        row = rows[at]
        if row in selection.denied:
            return Outcome.DENIED, selection.denied[row]
        return (Outcome.FILTERED, selection.steps[ended[row]]) if ended[row] != _KEPT else None

    one, other = tee(read_files([shards.outcomes], _ROWS_AT_ONCE))
    kept = (batch.filter(pc.equal(batch["outcome"], Outcome.KEPT.value)) for batch in one)
    dropped = (batch.filter(pc.not_equal(batch["outcome"], Outcome.KEPT.value)) for batch in other)
    writing.write_outcomes(folder / OUTCOMES_FILE, kept, end_of, dropped)


def format_counts(counts: Mapping[str, Any]) -> str:
    """Return the numbers of rows kept and left out, as a text table.

    >>> print(format_counts({"kept": 12, "condition": 1200}))
    kept                      12
    left out by condition  1,200
    """
    rows = [("kept" if name == "kept" else f"left out by {name}", count) for name, count in counts.items()]
    return "\n".join(aligned([[name, f"{count:,}"] for name, count in rows]))
