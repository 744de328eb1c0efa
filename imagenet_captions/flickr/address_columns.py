"""Read the Flickr photo ids of a column of addresses. Used by matching.

Nine in ten addresses of ImageNet's lists have one of two shapes: a photo on Flickr's static hosts, or a plain address
on another host. Two regular expressions read those in a tenth of the time that `addresses.read_address` takes, with the
same result; the function reads the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.flickr.addresses import MAX_DIGITS, MAX_LENGTH, read_address
from imagenet_captions.outcomes import Outcome

# From best to worst: of several addresses for one id, the one with the first of these outcomes counts.
RANKED = (Outcome.KEPT, Outcome.NOT_A_PHOTO, Outcome.NOT_FLICKR, Outcome.BAD_URL, Outcome.NO_URL)
_RANK = {outcome: np.int8(rank) for rank, outcome in enumerate(RANKED)}

_STATIC = (
    r"^https?://(?:[a-z0-9]+\.)?(?:static\.flickr|staticflickr)\.com(?::[0-9]*)?/(?:[0-9]+/){1,2}"
    rf"(?P<id>[1-9][0-9]{{0,{MAX_DIGITS - 1}}})_[0-9A-Za-z]+(?:_[0-9a-z]+)*\.(?:jpg|png|gif)(?:[?#]|$)"
)
_PLAIN = r"^https?://(?:[A-Za-z0-9_-]+\.)+[A-Za-z0-9_-]+(?::[0-9]*)?(?:[/?#]|$)"
_NEAR_FLICKR = r"(?i)^https?://[^/?#]*(?:flickr|flic\.kr|yimg)"


class Addresses(NamedTuple):
    """The photo ids of a column of addresses (null if there is none), and each outcome's index in RANKED."""

    photo_ids: pa.StringArray
    ranks: npt.NDArray[np.int8]


def read_addresses(urls: pa.StringArray) -> Addresses:
    """Return what `read_address` returns for each address of a column without nulls.

    >>> read = read_addresses(pa.array(["http://static.flickr.com/3/155697786_0125559b4e.jpg", "http://example.com/"]))
    >>> read.photo_ids.to_pylist(), [RANKED[rank].value for rank in read.ranks]
    (['155697786', None], ['kept', 'not_flickr'])
    """
    short = pc.less_equal(pc.binary_length(urls), MAX_LENGTH)
    photo_ids = pc.struct_field(pc.extract_regex(urls, _STATIC), [0])
    photo = pc.and_(pc.is_valid(photo_ids), short)
    elsewhere = pc.and_not(pc.match_substring_regex(urls, _PLAIN), pc.match_substring_regex(urls, _NEAR_FLICKR))
    elsewhere = pc.and_(elsewhere, short)
    ranks = np.where(photo.to_numpy(zero_copy_only=False), _RANK[Outcome.KEPT], _RANK[Outcome.NOT_FLICKR])
    rest = pc.invert(pc.or_(photo, elsewhere))
    if pc.any(rest).as_py():
        read = [read_address(url) for url in urls.filter(rest).to_pylist()]
        ranks[rest.to_numpy(zero_copy_only=False)] = [_RANK[address.outcome] for address in read]
        photo_ids = pc.replace_with_mask(photo_ids, rest, pa.array([a.photo_id for a in read], pa.string()))
    return Addresses(photo_ids, ranks)
