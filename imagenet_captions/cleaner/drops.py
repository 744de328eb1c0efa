"""Put the drops of a source and of cleaning into one table in which every id occurs at most once. Used by `clean`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.compose import join_filled, without
from imagenet_captions.outcomes import OUTCOMES, Outcome, outcome_rows

_ORDER = ["wnid", "image_id", "outcome", "detail"]


def drops_of(rows: pa.RecordBatch) -> pa.Table:
    """Return the OUTCOMES rows of CLEANED rows that are not kept."""
    unknown = pc.equal(rows["outcome"], Outcome.UNKNOWN_CLASS.value)
    image_ids, details = (without(rows[name], unknown) for name in ("image_id", "detail"))
    return outcome_rows(rows["outcome"], len(rows), image_id=image_ids, wnid=rows["wnid"], detail=details)


def repeats_of(rows: pa.Table) -> pa.Table:
    """Return the OUTCOMES rows of rows that repeat an id; the id is in the detail, since it has an outcome already."""
    return outcome_rows(Outcome.DUPLICATE_ID, len(rows), wnid=rows["wnid"], detail=rows["image_id"])


def settle_drops(batches: Iterable[pa.RecordBatch], kept: pa.Array) -> pa.Table:
    """Return all drops as one sorted OUTCOMES table; `kept` has at least the dropped ids that are also kept.

    If the id of a drop is kept or has an earlier drop, the id moves to the detail, so that it keeps one outcome. Rows
    without id that count images of other classes are merged into one row a wnid.
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
    columns = {"wnid": counted["wnid"], "detail": counted["detail_min"], "count": counted["count_sum"]}
    merged = outcome_rows(Outcome.UNKNOWN_CLASS, len(counted), **columns)
    return pa.concat_tables([drops.filter(pc.invert(outside)), merged])
