"""Read the matches by the number of their photo, and join them with YFCC100M. Used by `source`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.flickr.addresses import MAX_DIGITS
from imagenet_captions.schema import MATCHES
from imagenet_captions.sources.matches import open_matches
from imagenet_captions.sources.yfcc.lines import Numbers
from imagenet_captions.storage.places import Place


class Matches(NamedTuple):
    """The matches, sorted by the number of their photo."""

    rows: pa.Table  # `detail` is renamed to match_detail, since photos have a detail too
    numbers: Numbers

    @property
    def wanted(self) -> Numbers:
        """The distinct numbers, sorted."""
        return _distinct(self.numbers)


def read_matches(path: Place, answered: pa.Array | None) -> Matches:
    """Read the matches, without those whose photo is in `answered`."""
    with open_matches(path) as opened:
        rows = opened.read(MATCHES.names).select(MATCHES.names)
    rows = rows.rename_columns(["match_detail" if name == "detail" else name for name in MATCHES.names])
    if answered is not None:
        rows = rows.filter(pc.invert(pc.is_in(rows["photo_id"], value_set=answered)))
    numbers = _numbers(rows["photo_id"])
    order = np.argsort(numbers, kind="stable")
    return Matches(rows.take(pa.array(order)), numbers[order])


def wanted_numbers(path: Place) -> Numbers:
    """Return the distinct numbers of the matched photos, sorted."""
    with open_matches(path) as opened:
        return _distinct(_numbers(opened.read(["photo_id"])["photo_id"]))


def join(photos: pa.RecordBatch, matched: Matches) -> tuple[pa.Table, Numbers]:
    """Return a row for each image of these photos, and the indices of the matches."""
    numbers = pc.cast(photos["photo_id"], pa.int64()).to_numpy()
    first = np.searchsorted(matched.numbers, numbers, side="left")
    counts = np.searchsorted(matched.numbers, numbers, side="right") - first
    of_photo = np.repeat(np.arange(len(numbers)), counts)
    rows = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(int(counts.sum()))
    images = matched.rows.select(["image_id", "wnid", "url", "match_detail"]).take(pa.array(rows))
    joined = pa.Table.from_batches([photos]).take(pa.array(of_photo))
    for name in images.column_names:
        joined = joined.append_column(name, images[name])
    return joined, rows


def _numbers(photo_ids: pa.ChunkedArray) -> Numbers:
    """Return ids as numbers; 0 for an id that is not a number, which YFCC100M cannot have."""
    number = pc.match_substring_regex(photo_ids, rf"^[1-9][0-9]{{0,{MAX_DIGITS - 1}}}$")
    found: Numbers = pc.cast(pc.if_else(number, photo_ids, "0"), pa.int64()).to_numpy()
    return found


def _distinct(numbers: Numbers) -> Numbers:
    ordered = np.sort(numbers[numbers > 0])  # a tenth of the time of np.unique
    return ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
