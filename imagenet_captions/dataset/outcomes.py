"""outcomes.parquet of a dataset: how every input ended, what was kept included."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from imagenet_captions.errors import InputError
from imagenet_captions.records import OUTCOMES, Outcome

# A list may name an id twice; the entries after the first are counted on their own.
REPEATED = Outcome.DUPLICATE_ID.value


def outcome_table(ids: pa.Table, details: Mapping[int, str], dropped: Mapping[int, tuple[Outcome, str]]) -> pa.Table:
    """The outcomes of the rows of a captions file, from its image_id, wnid and detail.

    `details` are remarks on kept rows; `dropped` says how and why others ended.
    """
    kinds = [Outcome.KEPT.value] * len(ids)
    remarks: list[str | None] = ids["detail"].to_pylist()
    for row, remark in details.items():
        remarks[row] = _joined(remarks[row], remark)
    for row, (outcome, remark) in dropped.items():
        kinds[row] = outcome.value
        remarks[row] = _joined(remarks[row], remark)
    columns = [ids["image_id"], ids["wnid"], kinds, remarks, [1] * len(ids)]
    return pa.table(columns, schema=OUTCOMES)


def write_outcomes(path: Path, rows: pa.Table, earlier: pa.Table) -> None:
    """Write the outcomes of the captions' rows and of what was dropped before, sorted, each id once.

    Raises InputError if an id is among both: then the two files are not of one run.
    """
    together = pa.concat_tables([rows, earlier.select(OUTCOMES.names).cast(OUTCOMES)])
    if (twice := first_repeated(together)) is not None:
        raise InputError(
            f"{twice!r} is in the captions file and among the drops beside it, so they are not of one run; clean again"
        )
    order = [(name, "ascending") for name in ("wnid", "image_id", "outcome", "detail", "count")]
    pq.write_table(together.sort_by(order), path, compression="zstd", row_group_size=100_000)


def first_repeated(outcomes: pa.Table) -> str | None:
    """The first id that has more than one outcome, or None."""
    single = outcomes.filter(pc.and_(pc.is_valid(outcomes["image_id"]), pc.not_equal(outcomes["outcome"], REPEATED)))
    ids = single["image_id"].combine_chunks()
    if pc.count_distinct(ids).as_py() == len(ids):
        return None
    counted = ids.value_counts()
    repeated = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    return str(pc.min(repeated).as_py())


def _joined(first: str | None, second: str) -> str:
    return f"{first}; {second}" if first else second
