"""What cleaning dropped, and its source before it, as one table in which every id stands at most once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.compose import join_filled, without
from imagenet_captions.outcomes import OUTCOMES, Outcome

_ORDER = ["wnid", "image_id", "outcome", "detail"]


def drops_of(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The OUTCOMES rows of CLEANED rows that are not kept, one a row."""
    ones = pa.array(np.ones(len(rows), np.int64))
    unknown = pc.equal(rows["outcome"], Outcome.UNKNOWN_CLASS.value)
    return pa.RecordBatch.from_arrays(
        [
            without(rows["image_id"], unknown),
            rows["wnid"],
            rows["outcome"],
            without(rows["detail"], unknown),
            ones,
        ],
        schema=OUTCOMES,
    )


def repeats_of(rows: pa.Table) -> pa.Table:
    """The OUTCOMES rows of rows whose id an earlier row has: without an id of their own, which has its outcome."""
    return pa.table(
        [
            pa.nulls(len(rows), pa.string()),
            rows["wnid"],
            pa.array([Outcome.DUPLICATE_ID.value] * len(rows), pa.string()),
            rows["image_id"],
            pa.array(np.ones(len(rows), np.int64)),
        ],
        schema=OUTCOMES,
    )


def settle_drops(batches: Iterable[pa.RecordBatch], kept: pa.Array) -> pa.Table:
    """One sorted OUTCOMES table of all drops; `kept` are ids that are kept, at least those of them that a drop has.

    A drop whose id is kept, or has a drop already, is an entry beyond the id's own outcome: its id moves to the
    detail. Rows without id that stand for a class outside the wanted ones become one row a wnid.
    """
    drops = pa.Table.from_batches(batches, OUTCOMES)
    drops = _one_a_wnid(_one_an_id(drops, kept))
    return drops.sort_by([(name, "ascending") for name in _ORDER])


def _one_an_id(drops: pa.Table, kept: pa.Array) -> pa.Table:
    ids = drops["image_id"].combine_chunks()
    encoded = ids.dictionary_encode().indices
    first = np.zeros(len(ids), bool)
    first[np.unique(pc.fill_null(encoded, -1).to_numpy(zero_copy_only=False), return_index=True)[1]] = True
    own = pc.and_(pa.array(first), pc.invert(pc.is_in(ids, value_set=kept)))
    details = drops["detail"].combine_chunks()
    moved = join_filled([pc.fill_null(ids, ""), pc.fill_null(details, "")], "; ")
    beyond = pc.and_(pc.is_valid(ids), pc.invert(own))
    return drops.set_column(0, OUTCOMES.field("image_id"), without(ids, pc.invert(own))).set_column(
        3, OUTCOMES.field("detail"), pc.if_else(beyond, moved, details)
    )


def _one_a_wnid(drops: pa.Table) -> pa.Table:
    outside = pc.and_(pc.equal(drops["outcome"], Outcome.UNKNOWN_CLASS.value), pc.is_null(drops["image_id"]))
    counted = drops.filter(outside).group_by("wnid").aggregate([("detail", "min"), ("count", "sum")])
    merged = pa.table(
        [
            pa.nulls(len(counted), pa.string()),
            counted["wnid"],
            pa.array([Outcome.UNKNOWN_CLASS.value] * len(counted), pa.string()),
            counted["detail_min"],
            counted["count_sum"],
        ],
        schema=OUTCOMES,
    )
    return pa.concat_tables([drops.filter(pc.invert(outside)), merged])
