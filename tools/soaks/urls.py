"""Addresses of every shape, each made from a photo id or from a reason why there is none."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
from counting import Chunk

from imagenet_captions.flickr.addresses import RANKED, read_address, read_addresses
from imagenet_captions.outcomes import Outcome

_URLS = 20_000  # a chunk
_DIGITS = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"  # of Flickr's short links

# Paths by kind of host; {id} is the photo's, {k} a secret, {n} any number, {u} a user, {c} the id as a short code.
_STATIC = ["/{n}/{id}_{k}.jpg", "/{n}/{n}/{id}_{k}_o.jpg", "/{id}_{k}_m.jpg", "/{n}/{id}_{k}_o_d.jpg", "/{id}_{k}.png"]
_PAGES = ["/photos/{u}/{id}/", "/photos/{u}/{id}", "/photo/{u}/{id}/in/photostream/", "/photos/{u}/{id}/sizes/l/"]
_GNE = ["/photo.gne?id={id}", "/photo_zoom.gne?id={id}&size=o", "/photo.gne?short={c}"]
_NO_PHOTO = ["/photos/{u}/", "/photos/{u}/sets/{n}/", "/photos/tags/{n}/", "/people/{u}/", "/", "/groups/{n}/pool/"]
_STATIC_HOSTS = ["farm{f}.static.flickr.com", "static.flickr.com", "farm{f}.staticflickr.com", "live.staticflickr.com",
                 "photos{f}.flickr.com", "c{f}.staticflickr.com"]  # fmt: skip
_PAGE_HOSTS = ["www.flickr.com", "flickr.com", "m.flickr.com", "secure.flickr.com"]
_OTHER_HOSTS = ["example.com", "farm1.static.flickr.com.evil.org", "notflickr.com", "flickr.com.evil.org", "fl1ckr.com",
                "static-flickr.com", "flickr.org", "staticflickr.com.example.net", "xstaticflickr.com"]  # fmt: skip


def chunk(rng: random.Random, scratch: Path) -> Chunk:
    """Check some addresses, one by one and as a column."""
    made = [_address(rng) for _ in range(_URLS)]
    urls = [url for url, _, _ in made]
    found = [read_address(url) for url in urls]
    losses = [
        f"{url!r} is {address.photo_id} {address.outcome.value}, not {photo_id} {outcome.value}"
        for (url, photo_id, outcome), address in zip(made, found, strict=True)
        if (address.photo_id, address.outcome) != (photo_id, outcome)
    ]
    ids, outcomes = _by_column(urls)
    losses += [
        f"{url!r} by the column is {photo_id} {outcome}, one by one {address.photo_id} {address.outcome.value}"
        for url, photo_id, outcome, address in zip(urls, ids, outcomes, found, strict=True)
        if (photo_id, outcome) != (address.photo_id, address.outcome.value)
    ]
    return Chunk(_URLS, losses)


def _address(rng: random.Random) -> tuple[str, str | None, Outcome]:
    """Return an address, and the photo id and outcome that it was made for."""
    photo_id = str(rng.randrange(1, 10 ** rng.choice([4, 8, 10, 11, 15])))
    kind = rng.randrange(6)
    expected: tuple[str | None, Outcome] = (photo_id, Outcome.KEPT)
    if kind <= 1:
        host, path = rng.choice(_STATIC_HOSTS), rng.choice(_STATIC)
    elif kind == 2:
        host, path = rng.choice(_PAGE_HOSTS), rng.choice([*_PAGES, *_GNE])
    elif kind == 3:
        host, path = rng.choice(["flic.kr", "www.flic.kr"]), "/p/{c}"
    elif kind == 4:
        host, path = rng.choice(_PAGE_HOSTS), rng.choice(_NO_PHOTO)
        expected = None, Outcome.NOT_A_PHOTO
    else:
        host, path = rng.choice(_OTHER_HOSTS), rng.choice([*_STATIC, *_PAGES, *_NO_PHOTO])
        expected = None, Outcome.NOT_FLICKR
    fields = {"f": rng.randrange(1, 10), "n": rng.randrange(1, 70_000), "k": f"{rng.getrandbits(40):010x}"}
    user = rng.choice(["12345678@N00", "some-one", "münchen", "a_b"])
    filled = (host + "\0" + path).format(id=photo_id, c=_short(int(photo_id)), u=user, **fields)
    return _dressed(rng, *filled.split("\0")), *expected


def _short(number: int) -> str:
    code = ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        code = _DIGITS[digit] + code
    return code


def _dressed(rng: random.Random, host: str, path: str) -> str:
    """Return the address in one of the forms that browsers read alike."""
    host = "".join(rng.choice([letter, letter.upper()]) for letter in host) if rng.random() < 0.1 else host
    host += rng.choice(["", "", "", "", ":80", ".", ":443"])
    user = rng.choice(["", "", "", "", "", "", "me@", "me:flickr.com@"])
    scheme = rng.choice(["http://", "http://", "https://", "HTTP://", "//", "" if not user else "http://"])
    slashes = path.replace("/", "//", 1) if scheme and rng.random() < 0.05 else path
    end = rng.choice(["", "", "", "#flickr.com", "#/photos/a/1/"])
    if "?" not in path and rng.random() < 0.2:
        end = rng.choice(["?v=0", "?zz=1&id=7", "?http://flickr.com/photos/a/1/"]) + end
    return rng.choice(["", "", "", " ", "\t"]) + scheme + user + host + slashes + end + rng.choice(["", "", " ", "\r"])


def _by_column(urls: list[str]) -> tuple[list[str | None], list[str]]:
    found = read_addresses(pa.array(urls, pa.string()))
    return found.photo_ids.to_pylist(), [RANKED[rank].value for rank in found.ranks]
