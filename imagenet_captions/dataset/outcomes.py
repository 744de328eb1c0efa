"""Reading and writing outcomes.parquet of a dataset: how every input ended, the kept ones included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES, Outcome, count_outcomes
from imagenet_captions.storage.files import replacing
from imagenet_captions.storage.parquet import open_parquet_writer, read_files
from imagenet_captions.storage.places import Place

_AT_ONCE = 30_000  # rows; more, if their last class is not complete
_ORDER = [(name, "ascending") for name in ("wnid", "image_id", "outcome", "detail", "count")]


def read_outcome_counts(outcomes: Place) -> dict[Outcome, int]:
    """Return the number of inputs per outcome in an outcomes file."""
    return count_outcomes(read_files([outcomes], columns=["outcome", "count"]))


def outcome_table(rows: pa.RecordBatch, start: int, ends: Mapping[int, tuple[Outcome, str]]) -> pa.Table:
    """Return the outcomes of rows that begin at row `start`, from their image_id, wnid and detail.

    `ends` holds by row number the outcomes that are not "kept", and remarks on any.
    """
    kinds = [Outcome.KEPT.value] * len(rows)
    remarks: list[str | None] = rows["detail"].to_pylist()
    for at in range(len(rows)) if ends else ():
        if (end := ends.get(start + at)) is not None:
            kinds[at] = end[0].value
            remarks[at] = f"{remarks[at]}; {end[1]}" if remarks[at] else end[1]
    return pa.table([rows["image_id"], rows["wnid"], kinds, remarks, [1] * len(rows)], schema=OUTCOMES)


def write_outcomes(path: Place, rows: Iterable[pa.Table], earlier: Iterable[pa.RecordBatch]) -> None:
    """Write the outcomes of the rows of a captions file and of the inputs that were dropped earlier, sorted.

    Both are sorted by wnid and image id, and a few classes are held at a time. Raises InputError if both have the same
    id, because the two files are then not of one run.
    """
    with replacing(path) as local, open_parquet_writer(local, OUTCOMES) as writer:
        for table in _merged(rows, iter(earlier)):
            if (twice := first_repeated(table)) is not None:
                raise InputError(
                    f"{twice!r} is in the captions file and among the drops beside it, so they are not of one run; "
                    "clean again"
                )
            if len(table):
                writer.write_table(table.sort_by(_ORDER))


def first_repeated(outcomes: pa.Table) -> str | None:
    """Return the first id that has more than one outcome, or None; further entries of an id have one of their own."""
    own = pc.not_equal(outcomes["outcome"], Outcome.DUPLICATE_ID.value)
    ids, counts = outcomes.filter(own)["image_id"].drop_null().value_counts().flatten()
    repeated = ids.filter(pc.greater(counts, 1))
    return str(pc.min(repeated)) if len(repeated) else None


def _merged(rows: Iterable[pa.Table], earlier: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Yield both together, in tables that end with a class; outcomes without a class come last."""
    rest = OUTCOMES.empty_table()  # of the drops
    for table in _whole_classes(rows):
        parts = [table]
        while True:
            # Nulls are sorted last, and comparing them is never true.
            inside = pc.sum(pc.less_equal(rest["wnid"], table["wnid"][-1])).as_py() or 0
            parts.append(rest.slice(0, inside))
            rest = rest.slice(inside)
            if len(rest) or (batch := next(earlier, None)) is None:
                break
            rest = pa.Table.from_batches([batch]).select(OUTCOMES.names).cast(OUTCOMES)
        yield pa.concat_tables(parts)
    yield rest
    for batch in earlier:
        yield pa.Table.from_batches([batch]).select(OUTCOMES.names).cast(OUTCOMES)


def _whole_classes(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held = OUTCOMES.empty_table()
    for table in tables:
        held = pa.concat_tables([held, table])
        if len(held) >= _AT_ONCE:
            held = held.combine_chunks()
            last = pc.index(held["wnid"], held["wnid"][-1]).as_py()
            if last:
                yield held.slice(0, last)
            held = held.slice(last)
    if len(held):
        yield held.combine_chunks()
