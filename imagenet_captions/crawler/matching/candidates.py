"""Choose one of several addresses for an id, and list the others in a remark. Used by `match`.

People join the lists of fall11, winter11, spring10 and more to reach more ids, so that most ids occur several times,
mostly with the same address.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.crawler.matching.id_keys import Keys, changes, wnid_numbers
from imagenet_captions.flickr.addresses import read_addresses
from imagenet_captions.storage.progress import progress
from imagenet_captions.storage.spool import BUCKETS, Spool

# An address of a wanted id; rows are in the order of the lists.
CANDIDATES = pa.schema(
    [
        pa.field("key", pa.int64()),
        pa.field("rank", pa.int8()),  # the outcome's index in addresses.RANKED
        pa.field("photo_id", pa.string()),
        pa.field("url", pa.string()),
    ]
)

_SHOWN_LENGTH = 200
_MOST_OTHERS = 5
_BETWEEN = " | "


@dataclass(frozen=True)
class Settled:
    """The best address of each id, sorted by id, and a remark on the others (null if there are none)."""

    keys: Keys
    ranks: npt.NDArray[np.int8]
    photo_ids: pa.StringArray
    urls: pa.StringArray
    others: pa.StringArray

    def only(self, chosen: npt.NDArray[np.bool_]) -> Settled:
        """Return the entries of the chosen ids."""
        mask = pa.array(chosen)
        return Settled(
            self.keys[chosen],
            self.ranks[chosen],
            self.photo_ids.filter(mask),
            self.urls.filter(mask),
            self.others.filter(mask),
        )


NONE_SETTLED = Settled(np.empty(0, np.int64), np.empty(0, np.int8), *([pa.array([], pa.string())] * 3))


def candidates(keys: Keys, urls: pa.StringArray) -> pa.Table:
    """Read the addresses of wanted ids."""
    read = read_addresses(urls)
    return pa.table([pa.array(keys), pa.array(read.ranks), read.photo_ids, urls], schema=CANDIDATES)


def candidate_spool(folder: Path, wanted: Keys) -> Spool:
    """Return a spool of candidates, sorted by id, then from best to worst, then by position.

    `wanted` are the sorted numbers of the wanted wnids; temporary files go to `folder`.
    """

    def bucket_of(table: pa.Table) -> Keys:
        place: Keys = np.searchsorted(wanted, wnid_numbers(table["key"].to_numpy()))
        return place * BUCKETS // len(wanted)

    return Spool(folder, CANDIDATES, ["key", "rank"], bucket_of)


def settle(spool: Spool) -> Iterator[Settled]:
    """Yield all ids in order, some ten thousand at a time, each with the address that counts.

    It is the first Flickr photo in the order of the lists, or else the first address with the best outcome.
    """
    with progress("sort", spool.rows, "addresses") as bar:
        for table in spool.sorted_tables("key"):
            yield _settle(_distinct(table.combine_chunks()))
            bar.update(len(table))


def _distinct(table: pa.Table) -> pa.Table:
    """Keep the first of equal neighbors."""
    urls = _column(table, "url")
    repeated = ~changes(table["key"].to_numpy())
    repeated[1:] &= pc.equal(urls[1:], urls[:-1]).to_numpy(zero_copy_only=False)
    return table.filter(pa.array(~repeated)) if repeated.any() else table


def _settle(table: pa.Table) -> Settled:
    keys = table["key"].to_numpy()
    firsts = np.flatnonzero(changes(keys))
    sizes = np.diff(np.append(firsts, len(keys)))
    urls = _column(table, "url")
    remarks: dict[int, str] = {}
    for place in np.flatnonzero(sizes > 1).tolist():
        start = int(firsts[place])
        remark = _others(urls[start : start + int(sizes[place])].to_pylist())
        if remark:
            remarks[place] = remark
    others = pa.nulls(len(firsts), pa.string())
    if remarks:
        mask = np.zeros(len(firsts), np.bool_)
        mask[list(remarks)] = True
        others = pc.replace_with_mask(others, pa.array(mask), pa.array(list(remarks.values()), pa.string()))
    chosen = pa.array(firsts)
    photo_ids = _column(table, "photo_id").take(chosen)
    return Settled(keys[firsts], table["rank"].to_numpy()[firsts], photo_ids, urls.take(chosen), others)


def shown(url: str) -> str:
    r"""Return an address for a remark: short, on one line, without control characters.

    >>> shown("http://example.com/\tx")
    'http://example.com/\\tx'
    """
    short = url if len(url) <= _SHOWN_LENGTH else url[: _SHOWN_LENGTH - 1] + "…"
    return short if short.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in short)


def shown_column(urls: pa.StringArray) -> pa.StringArray:
    """Apply `shown` to a column of addresses; most are short and plain and do not change."""
    plain = pc.and_(pc.string_is_ascii(urls), pc.less_equal(pc.binary_length(urls), _SHOWN_LENGTH))
    plain = pc.and_not(plain, pc.match_substring_regex(urls, r"[\x00-\x1f\x7f]"))
    odd = pc.invert(plain)
    values = [shown(url) for url in urls.filter(odd).to_pylist()]
    return pc.replace_with_mask(urls, odd, pa.array(values, pa.string())) if values else urls


def joined_columns(first: pa.StringArray, others: pa.StringArray) -> pa.StringArray:
    """Join two columns of remarks; null where both are null."""
    joined = pc.binary_join_element_wise(first, others, _BETWEEN, null_handling="skip")
    return pc.if_else(pc.equal(joined, ""), None, joined)


def _others(urls: list[str]) -> str:
    """List the addresses after the first, each once: five of them, and the number of the rest."""
    others = [url for url in dict.fromkeys(urls) if url and url != urls[0]]
    more = [f"and {len(others) - _MOST_OTHERS} more"] if len(others) > _MOST_OTHERS else []
    return _BETWEEN.join([*map(shown, others[:_MOST_OTHERS]), *more])


def _column(table: pa.Table, name: str) -> pa.StringArray:
    """Return a column as one array."""
    column = table[name]
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays([pa.array([], column.type), *column.chunks])
