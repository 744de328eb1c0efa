"""Read the Flickr photo ids of addresses, in every shape that Flickr has used since 2004: of one, or of a column.

Nine in ten addresses of ImageNet's lists have one of two shapes: a photo on Flickr's static hosts, or a plain address
on another host. For a column, regular expressions read those in a tenth of the time, and `read_address` the rest.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.outcomes import Outcome

# Longer than any address that a browser accepts; a longer one is two lines glued together, or an attack.
MAX_LENGTH = 4096
# Ids have eleven digits today (54216619200, 2024).
MAX_DIGITS = 15

_BASE58 = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_MAX_BASE58 = 10

_ADDRESS = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_NO_SCHEME = re.compile(r"[^/?#@\s]+\.[^/?#@\s]+(?:[/?#]|$)")
_HOST = re.compile(r"([^\s\x00-\x20:@\\<>\"'()\[\]{}|^`%,;!*$&+=~]+)(?::[0-9]*)?")

_STATIC_HOST = re.compile(r"(?:.+\.)?(?:static\.flickr|staticflickr)\.com|photos[0-9]*\.flickr\.com")
_PAGE_HOST = re.compile(r"(?:(?:www|m|secure)\.)?flickr\.com")
_FLICKR_HOST = re.compile(r"(?:.+\.)?(?:flickr|staticflickr)\.com|(?:www\.)?flic\.kr")
_YAHOO_HOST = re.compile(r"(?:.+\.)?yimg\.com")

# /3175/2737866473_7958dc8760_o_d.jpg · /6/5123/2737866473_7958dc8760_o.jpg · /16159487_3a6615a565_b.jpg
_STATIC_PATH = re.compile(r"/(?:[0-9]+/)*([0-9]+)_[0-9A-Za-z][^/]*")
_VIDEO = re.compile(r"\.(?:mp4|mov|flv|swf|avi|webm|m3u8)\s*$", re.IGNORECASE)
# /photos/someone/2737866473/in/photostream/ · /photo/someone/2737866473 (before 2005)
_PAGE_PATH = re.compile(r"(?:/x/t/[0-9]+)?/photos?/([^/]+)/([0-9]+)(?:[/\s].*)?", re.IGNORECASE | re.DOTALL)
NOT_A_USER = {"tags", "search"}  # /photos/tags/2012/ lists photos tagged "2012"
_GNE_PATH = re.compile(r"/photo[a-z_]*\.gne\s*", re.IGNORECASE)
_GNE_ID = re.compile(r"(?:^|&)id=([0-9]+)(?![^&\s])")
_GNE_SHORT = re.compile(r"(?:^|&)short=([0-9A-Za-z]+)(?![^&\s])")
_SHORT_PATH = re.compile(r"/p/([0-9A-Za-z]+)(?:[/\s].*)?", re.DOTALL)


# From best to worst: of several addresses for one id, the one with the first of these outcomes counts.
RANKED = (Outcome.KEPT, Outcome.NOT_A_PHOTO, Outcome.NOT_FLICKR, Outcome.BAD_URL, Outcome.NO_URL)
_RANK = {outcome: np.int8(rank) for rank, outcome in enumerate(RANKED)}

_STATIC = (
    r"^https?://(?:[a-z0-9]+\.)?(?:static\.flickr|staticflickr)\.com(?::[0-9]*)?/(?:[0-9]+/){1,2}"
    rf"(?P<id>[1-9][0-9]{{0,{MAX_DIGITS - 1}}})_[0-9A-Za-z]+(?:_[0-9a-z]+)*\.(?:jpg|png|gif)(?:[?#]|$)"
)
_PLAIN = r"^https?://(?:[A-Za-z0-9_-]+\.)+[A-Za-z0-9_-]+(?::[0-9]*)?(?:[/?#]|$)"
_NEAR_FLICKR = r"(?i)^https?://[^/?#]*(?:flickr|flic\.kr|yimg)"


class Address(NamedTuple):
    """The id of a Flickr photo with the outcome KEPT, or None with the reason."""

    photo_id: str | None
    outcome: Outcome


def read_address(url: str) -> Address:
    """Return the photo that an address shows, or the reason why it shows none.

    A missing scheme, ports, the case of the host, doubled slashes, spaces and tabs, queries and fragments are read as
    browsers read them. Only the host counts: an address with "flickr.com" in its path, query or user name is not
    Flickr's. Videos, profiles, sets, buddy icons and the "photo unavailable" pictures do not count as photos.

    >>> read_address("http://farm4.static.flickr.com/3175/2737866473_7958dc8760.jpg")
    Address(photo_id='2737866473', outcome=<Outcome.KEPT: 'kept'>)
    >>> read_address("http://farm4.static.flickr.com.evil.org/3175/2737866473_7958dc8760.jpg").outcome.value
    'not_flickr'
    """
    url = url.strip()
    if not url:
        return Address(None, Outcome.NO_URL)
    found = _ADDRESS.match(f"//{url}" if _NO_SCHEME.match(url) else url) if len(url) <= MAX_LENGTH else None
    scheme, authority, path, query = found.groups("") if found else ("", "", "", "")
    scheme, host = scheme.lower(), _host(authority)
    if host is None or scheme not in ("", "http", "https", "ftp"):
        return Address(None, Outcome.BAD_URL)
    path = re.sub("/{2,}", "/", path)
    if scheme == "ftp" or not _FLICKR_HOST.fullmatch(host):
        gone = scheme != "ftp" and _YAHOO_HOST.fullmatch(host) and "photo_unavailable" in path
        return Address(None, Outcome.NOT_A_PHOTO if gone else Outcome.NOT_FLICKR)
    if _STATIC_HOST.fullmatch(host):
        digits = "" if _VIDEO.search(path) else _first(_STATIC_PATH.fullmatch(path))
    elif _PAGE_HOST.fullmatch(host):
        digits = _of_page(path, query)
    else:
        digits = _from_base58(_first(_SHORT_PATH.fullmatch(path))) if host.endswith("flic.kr") else ""
    digits = digits.lstrip("0")
    if 0 < len(digits) <= MAX_DIGITS:
        return Address(digits, Outcome.KEPT)
    return Address(None, Outcome.NOT_A_PHOTO)


def _host(authority: str) -> str | None:
    """Return the host in lower case, without user, port and final dot; None if it is not a host name."""
    found = _HOST.fullmatch(authority.rpartition("@")[2])
    if not found or "\\" in authority:  # browsers read http://evil.org\\@flickr.com as evil.org
        return None
    # str.lower turns the Kelvin sign into "k", and so a look-alike into flickr.com.
    name = (found[1].lower() if found[1].isascii() else found[1]).removesuffix(".")
    return name if all(name.split(".")) and "." in name else None


def _of_page(path: str, query: str) -> str:
    if page := _PAGE_PATH.fullmatch(path):
        return "" if page[1].lower() in NOT_A_USER else page[2]
    if _GNE_PATH.fullmatch(path):
        return _first(_GNE_ID.search(query)) or _from_base58(_first(_GNE_SHORT.search(query)))
    return ""


def _first(found: re.Match[str] | None) -> str:
    return found[1] if found else ""


def _from_base58(code: str) -> str:
    """Return the photo id in a short link's code; "" if the code is not valid."""
    if not re.fullmatch(f"[{_BASE58}]{{1,{_MAX_BASE58}}}", code):
        return ""
    number = 0
    for letter in code:
        number = number * len(_BASE58) + _BASE58.index(letter)
    return str(number)


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
    short = pc.less_equal(pc.binary_length(urls), MAX_LENGTH).to_numpy(zero_copy_only=False)
    photo_ids = pc.struct_field(pc.extract_regex(urls, _STATIC), [0])
    photo = photo_ids.is_valid().to_numpy(zero_copy_only=False) & short
    others = urls.filter(pa.array(~photo))
    plain, near = (pc.match_substring_regex(others, pattern) for pattern in (_PLAIN, _NEAR_FLICKR))
    rest = ~short
    rest[~photo] |= pc.or_(pc.invert(plain), near).to_numpy(zero_copy_only=False)
    ranks = np.where(photo, _RANK[Outcome.KEPT], _RANK[Outcome.NOT_FLICKR])
    if rest.any():
        read = [read_address(url) for url in urls.filter(pa.array(rest)).to_pylist()]
        ranks[rest] = [_RANK[address.outcome] for address in read]
        found = pa.array([address.photo_id for address in read], pa.string())
        photo_ids = pc.replace_with_mask(photo_ids, pa.array(rest), found)
    return Addresses(photo_ids, ranks)
