"""Every shape of Flickr address leads to its photo, and nothing that only looks like one does."""

from __future__ import annotations

import random
import re

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.flickr.addresses import MAX_LENGTH, RANKED, read_address, read_addresses
from imagenet_captions.outcomes import Outcome

# (address, photo id, where that shape was seen)
PHOTOS = [
    ("http://farm4.static.flickr.com/3175/2737866473_7958dc8760.jpg", "2737866473", "fall11_urls.txt"),
    ("http://static.flickr.com/63/155697786_0125559b4e.jpg", "155697786", "Commons, 2006"),
    ("http://www.static.flickr.com/63/155697786_0125559b4e.jpg", "155697786", "flickr-url-parser"),
    ("https://farm5.staticflickr.com/4586/37767087695_bb4ecff5f4_o.jpg", "37767087695", "original size"),
    ("http://farm2.static.flickr.com:80/1/37767087695_bb4ecff5f4_o_d.jpg", "37767087695", "forced download"),
    ("https://live.staticflickr.com/65535/53381630964_63d765ee92_s.jpg", "53381630964", "today's host"),
    ("https://live.staticflickr.com/65535/53381630964_63d765ee92_3k.jpg", "53381630964", "3072 px"),
    ("https://c1.staticflickr.com/6/5123/4760546041_7958dc8760_o.jpg", "4760546041", "Open Images"),
    ("http://photos1.flickr.com/16159487_3a6615a565_b.jpg", "16159487", "before 2006: no server part"),
    ("http://farm3.static.flickr.com/2103/2298303563_6ae4e9ea69.jpg?v=0", "2298303563", "ImageNet: ?v=0"),
    ("http://farm3.static.flickr.com/2103/2298303563_6ae4e9ea69.jpg#top", "2298303563", "fragment"),
    ("http://farm3.static.flickr.com/2103/2298303563_6ae4e9ea69_o.png", "2298303563", "originals keep their form"),
    ("http://farm3.static.flickr.com/2103/2298303563_6ae4e9ea69 (1).jpg", "2298303563", "blanks in an address"),
    ("http://farm3.static.flickr.com/2103/2298303563_6ae4e9ea69.jpg\textra", "2298303563", "a tab in an address"),
    ("  http://farm3.static.flickr.com/2103/2298303563_6ae4e9ea69.jpg \r", "2298303563", "blanks around it"),
    ("HTTP://FARM3.STATIC.FLICKR.COM/2103/2298303563_6ae4e9ea69.jpg", "2298303563", "upper case"),
    ("farm3.static.flickr.com/2103/2298303563_6ae4e9ea69.jpg", "2298303563", "no scheme"),
    ("//farm3.static.flickr.com/2103/2298303563_6ae4e9ea69.jpg", "2298303563", "the page's scheme"),
    ("http://farm3.static.flickr.com//2103//2298303563_6ae4e9ea69.jpg", "2298303563", "doubled slashes"),
    ("http://farm3.static.flickr.com./2103/2298303563_6ae4e9ea69.jpg", "2298303563", "the root's dot"),
    ("http://me:secret@farm3.static.flickr.com/2103/2298303563_6ae4e9ea69.jpg", "2298303563", "a user"),
    ("http://www.flickr.com/photos/12345678@N00/58722119/", "58722119", "YFCC100M pageurl"),
    ("https://flickr.com/photos/some-one/32812033543", "32812033543", "alias, no www"),
    ("https://www.Flickr.com/photos/some-one/32812033543", "32812033543", "Commons: Flickr.com"),
    ("https://www.flickr.com/photos/some-one/32812033543/in/photostream/", "32812033543", "context"),
    ("https://www.flickr.com/photos/some-one/32812033543/sizes/o/in/pool-1@N00/", "32812033543", "sizes"),
    ("https://www.flickr.com/photos/some-one/32812033543\textra", "32812033543", "a tab in an address"),
    ("http://www.flickr.com//photos//some-one//32812033543//", "32812033543", "doubled slashes"),
    ("www.flickr.com/photos/some-one/32812033543", "32812033543", "no scheme"),
    ("http://m.flickr.com/photos/some-one/32812033543", "32812033543", "mobile page"),
    ("http://www.flickr.com/photo/some-one/1234567", "1234567", "2004"),
    ("https://www.flickr.com/x/t/0097009/photos/some-one/32812033543/", "32812033543", "tracked link"),
    ("http://flickr.com/photo.gne?id=3176", "3176", "2004"),
    ("http://www.flickr.com/photo_zoom.gne?id=180209675&size=m", "180209675", "zoom page"),
    ("http://www.flickr.com/photo_exif.gne?id=1427904898", "1427904898", "exif page"),
    ("http://www.flickr.com/photo.gne?rb=1&id=1427904898", "1427904898", "id comes second"),
    ("http://www.flickr.com/photo.gne?short=2p4QbKN", "53208249252", "long form of a short link"),
    ("https://flic.kr/p/2p4QbKN", "53208249252", "short link"),
    ("flic.kr/p/2p4QbKN?x=1", "53208249252", "short link"),
]

# (address, outcome, why)
OTHERS = [
    ("", Outcome.NO_URL, "an empty address"),
    (" \t\r", Outcome.NO_URL, "only blanks"),
    ("junk", Outcome.BAD_URL, "no address"),
    ("http://", Outcome.BAD_URL, "no host"),
    ("http://localhost/1_a.jpg", Outcome.BAD_URL, "no host of the internet"),
    ("http://http://farm1.static.flickr.com/1/2_a.jpg", Outcome.BAD_URL, "pasted twice"),
    ("http:/farm1.static.flickr.com/1/2_a.jpg", Outcome.BAD_URL, "a slash too few"),
    ("http://farm1.static .flickr.com/1/2_a.jpg", Outcome.BAD_URL, "a blank in the host"),
    ("http://evil.org\\@flickr.com/photos/a/1", Outcome.BAD_URL, "browsers go to evil.org"),
    ("http://farm1.static.flickr.com:eighty/1/2_a.jpg", Outcome.BAD_URL, "no port"),
    ("javascript:alert(1)", Outcome.BAD_URL, "no address of a file"),
    ("http://" + "a" * MAX_LENGTH + ".com/", Outcome.BAD_URL, "longer than any address"),
    ("http://farm1.static.flickr.com/1/2_a.jpg?" + "a" * MAX_LENGTH, Outcome.BAD_URL, "longer than any address"),
    ("http://www.example.com/images/1_a.jpg", Outcome.NOT_FLICKR, "another host"),
    ("ftp://ftp.example.com/1_a.jpg", Outcome.NOT_FLICKR, "another host"),
    ("http://93.184.216.34/1_a.jpg", Outcome.NOT_FLICKR, "another host"),
    ("http://farm1.static.flickr.com.evil.org/1/2_a.jpg", Outcome.NOT_FLICKR, "look-alike"),
    ("http://notflickr.com/photos/a/1/", Outcome.NOT_FLICKR, "look-alike"),
    ("http://www.flic\u212ar.com/photos/a/1", Outcome.NOT_FLICKR, "Kelvin sign for a k"),
    ("http://flickr.com@evil.org/photos/a/1", Outcome.NOT_FLICKR, "Flickr as the user's name"),
    ("http://example.com/farm1.static.flickr.com/1/2_a.jpg", Outcome.NOT_FLICKR, "in another's path"),
    ("http://web.archive.org/web/2010/http://www.flickr.com/photos/a/1", Outcome.NOT_FLICKR, "in another's path"),
    ("http://example.com/?u=http://www.flickr.com/photos/a/1", Outcome.NOT_FLICKR, "in another's query"),
    ("http://example.com#@flickr.com/photos/a/1", Outcome.NOT_FLICKR, "in another's fragment"),
    ("http://l.yimg.com/a/logo.gif", Outcome.NOT_FLICKR, "Yahoo's own picture"),
    ("http://l.yimg.com/g/images/photo_unavailable.gif", Outcome.NOT_A_PHOTO, "photo unavailable"),
    ("http://www.flickr.com/images/photo_unavailable.gif", Outcome.NOT_A_PHOTO, "photo unavailable"),
    ("http://www.flickr.com/photos/someone/", Outcome.NOT_A_PHOTO, "a profile"),
    ("http://www.flickr.com/", Outcome.NOT_A_PHOTO, "the front page"),
    ("http://www.flickr.com/photos/someone/sets/72157600001", Outcome.NOT_A_PHOTO, "a set"),
    ("http://www.flickr.com/photos/tags/2012/", Outcome.NOT_A_PHOTO, "a tag"),
    ("http://www.flickr.com/groups/12345678@N00/pool/1234567/", Outcome.NOT_A_PHOTO, "a group"),
    ("http://www.flickr.com/photos/someone/①②③", Outcome.NOT_A_PHOTO, "digits that are not ASCII"),
    ("http://farm1.static.flickr.com/1/①23_a.jpg", Outcome.NOT_A_PHOTO, "digits that are not ASCII"),
    ("http://www.flickr.com/photos/someone/0", Outcome.NOT_A_PHOTO, "no such id"),
    ("http://www.flickr.com/photos/someone/" + "9" * 16, Outcome.NOT_A_PHOTO, "no such id"),
    ("http://www.flickr.com/photos/someone/x?id=123", Outcome.NOT_A_PHOTO, "an id in the wrong place"),
    ("http://www.flickr.com/photo.gne?id=12a", Outcome.NOT_A_PHOTO, "no id"),
    ("http://www.flickr.com/photo.gne?short=0OIl", Outcome.NOT_A_PHOTO, "letters that base58 leaves out"),
    ("https://flic.kr/p/" + "z" * 40, Outcome.NOT_A_PHOTO, "no such id"),
    ("https://flic.kr/s/aHsjybZ5ZD", Outcome.NOT_A_PHOTO, "the short link of an album"),
    ("https://live.staticflickr.com/video/49868997918/f7a3ef6d9c/1080p.mp4", Outcome.NOT_A_PHOTO, "a video"),
    ("https://live.staticflickr.com/1/49868997918_f7a3ef6d9c.mp4", Outcome.NOT_A_PHOTO, "a video"),
    ("https://www.flickr.com/video_download.gne?id=49868997918", Outcome.NOT_A_PHOTO, "a video"),
    ("http://farm1.static.flickr.com/123/buddyicons/12345678@N00.jpg", Outcome.NOT_A_PHOTO, "a buddy icon"),
    ("http://farm1.static.flickr.com/123/2737866473.jpg", Outcome.NOT_A_PHOTO, "no secret"),
    ("http://api.flickr.com/photos/a/1", Outcome.NOT_A_PHOTO, "Flickr's, but not its photo pages"),
]


def test_addresses_lead_to_a_photo_or_have_a_reason() -> None:
    for url, photo_id, seen in PHOTOS:
        assert read_address(url) == (photo_id, Outcome.KEPT), (url, seen)
    for url, outcome, why in OTHERS:
        assert read_address(url) == (None, outcome), (url, why)


PIECES = ["http://", "https://", "//", "farm1.static.flickr.com", "www.flickr.com", "flic.kr", "evil.org", "yimg.com"]
PIECES += [*"/?#@: \t①\0é\\", "/photos/", "/p/", "12345", "_ab", ".jpg", "80", "photo.gne?id="]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=12).map("".join)))
def test_the_parser_never_raises_and_columns_agree_with_it(url: str) -> None:
    address = read_address(url)
    assert (address.photo_id is not None) == (address.outcome is Outcome.KEPT)
    assert address.photo_id is None or re.fullmatch("[1-9][0-9]{0,14}", address.photo_id)
    read = read_addresses(pa.array([url]))
    assert (read.photo_ids[0].as_py(), RANKED[read.ranks[0]]) == address


def test_columns_say_what_the_parser_says() -> None:
    urls = [url for url, _, _ in PHOTOS + OTHERS]
    rng = random.Random(0)
    for _ in range(20_000):
        url = list(rng.choice(urls[:120]))
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len(url) + 1)
            url[place : place + rng.randrange(2)] = rng.choice(["", *"/_.09x:?# é"])
        urls.append("".join(url))
    read = read_addresses(pa.array(urls))
    assert [*zip(read.photo_ids.to_pylist(), [RANKED[rank] for rank in read.ranks], strict=True)] == [
        tuple(read_address(url)) for url in urls
    ]
    kinds = {RANKED[rank] for rank in read.ranks}
    assert kinds == set(RANKED)
