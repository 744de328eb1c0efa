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

# A source may have an id twice; every entry after the first has this outcome of its own.
REPEATED = Outcome.DUPLICATE_ID.value

_AT_ONCE = 30_000  # rows; more, if their last class is not complete
_ORDER = [(name, "ascending") for name in ("wnid", "image_id", "outcome", "detail", "count")]


def read_outcome_counts(outcomes: Place) -> dict[Outcome, int]:
    """Return the number of inputs per outcome in an outcomes file."""
    return count_outcomes(read_files([outcomes], columns=["outcome", "count"]))


def outcome_table(
    rows: pa.RecordBatch, start: int, details: Mapping[int, str], dropped: Mapping[int, tuple[Outcome, str]]
) -> pa.Table:
    """Return the outcomes of rows of a captions file, which begin at row `start`, from their image_id, wnid and detail.

    `details` holds remarks on kept rows by row number; `dropped` holds the outcome and the reason of other rows.
    """
    kinds = [Outcome.KEPT.value] * len(rows)
    remarks: list[str | None] = rows["detail"].to_pylist()
    for at in range(len(rows)) if details or dropped else ():
        if (remark := details.get(start + at)) is not None:
            remarks[at] = _joined(remarks[at], remark)
        if (ended := dropped.get(start + at)) is not None:
            kinds[at] = ended[0].value
            remarks[at] = _joined(remarks[at], ended[1])
    columns = [rows["image_id"], rows["wnid"], kinds, remarks, [1] * len(rows)]
    return pa.table(columns, schema=OUTCOMES)


def write_outcomes(path: Place, rows: Iterable[pa.Table], earlier: Iterable[pa.RecordBatch]) -> None:
    """Write the outcomes of the rows of a captions file and of the inputs that were dropped earlier, sorted.

    Both are sorted by wnid and image id, and a few classes are held at a time. Raises InputError if both have the same
    id, because the two files are then not of one run.
    """
    with replacing(path, alone=False) as local, open_parquet_writer(local, OUTCOMES) as writer:
        for table in _merged(rows, _Drops(earlier)):
            if (twice := first_repeated(table)) is not None:
                raise InputError(
                    f"{twice!r} is in the captions file and among the drops beside it, so they are not of one run; "
                    "clean again"
                )
            if len(table):
                writer.write_table(table.sort_by(_ORDER))


def first_repeated(outcomes: pa.Table) -> str | None:
    """Return the first id that has more than one outcome, or None."""
    single = outcomes.filter(pc.and_(pc.is_valid(outcomes["image_id"]), pc.not_equal(outcomes["outcome"], REPEATED)))
    ids = single["image_id"].combine_chunks()
    if pc.count_distinct(ids).as_py() == len(ids):
        return None
    counted = ids.value_counts()
    repeated = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    return str(pc.min(repeated).as_py())


def _merged(rows: Iterable[pa.Table], drops: _Drops) -> Iterator[pa.Table]:
    """Yield both together, in tables that end with a class; outcomes without a class come last."""
    for table in _whole_classes(rows):
        yield pa.concat_tables([table, *drops.until(table["wnid"][-1].as_py())])
    while (rest := drops.next()) is not None:
        yield rest


def _whole_classes(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(map(len, held)) >= _AT_ONCE:
            together = pa.concat_tables(held).combine_chunks()
            last = pc.index(together["wnid"], together["wnid"][-1]).as_py()
            if last:
                yield together.slice(0, last)
            held = [together.slice(last)]
    together = pa.concat_tables(held) if held else OUTCOMES.empty_table()
    if len(together):
        yield together


class _Drops:
    """A queue of sorted outcomes."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rest: pa.Table | None = None

    def next(self) -> pa.Table | None:
        """Return the rest of the current batch, or the next batch; None at the end."""
        rest, self._rest = self._rest, None
        if rest is None and (batch := next(self._batches, None)) is not None:
            rest = pa.Table.from_batches([batch]).select(OUTCOMES.names).cast(OUTCOMES)
        return rest

    def until(self, wnid: str) -> Iterator[pa.Table]:
        """Yield the outcomes up to the end of this class."""
        while (table := self.next()) is not None:
            # Nulls are sorted last, and comparing them is never true.
            inside = pc.sum(pc.less_equal(table["wnid"], wnid)).as_py() or 0
            yield table.slice(0, inside)
            if inside < len(table):
                self._rest = table.slice(inside)
                return


def _joined(first: str | None, second: str) -> str:
    return f"{first}; {second}" if first else second
