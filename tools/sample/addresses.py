"""Lines of an ImageNet URL list, in the shapes and with the dirt that the real list has."""

from __future__ import annotations

from dataclasses import dataclass

_BASE58 = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"

# {i} photo id, {k} secret, {f} farm, {s} server, {o} owner, {b} photo id in base 58
SHAPES = {
    "farm": "http://farm{f}.static.flickr.com/{s}/{i}_{k}.jpg",
    "farm_query": "http://farm{f}.static.flickr.com/{s}/{i}_{k}.jpg?v=0",
    "farm_size": "http://farm{f}.static.flickr.com/{s}/{i}_{k}_m.jpg",
    "static": "http://static.flickr.com/{s}/{i}_{k}.jpg",
    "staticflickr": "http://farm{f}.staticflickr.com/{s}/{i}_{k}_z.jpg?zz=1",
    "https_port": "https://farm{f}.staticflickr.com:443/{s}/{i}_{k}.jpg",
    "live": "https://live.staticflickr.com/65535/{i}_{k}_b.jpg",
    "c_host": "https://c{f}.staticflickr.com/6/{s}/{i}_{k}_o.jpg",
    "photos": "http://photos{f}.flickr.com/{i}_{k}_o.jpg",
    "download": "http://farm{f}.static.flickr.com:80/{s}/{i}_{k}_o_d.jpg",
    "no_scheme": "farm{f}.static.flickr.com/{s}/{i}_{k}.jpg",
    "upper_host": "http://FARM{f}.Static.Flickr.com/{s}/{i}_{k}.jpg",
    "page_nsid": "http://www.flickr.com/photos/{o}/{i}/",
    "page_alias": "http://flickr.com/photos/sample-owner/{i}/in/photostream/",
    "sizes": "http://www.flickr.com/photos/sample-owner//{i}/sizes/o/",
    "old_page": "http://www.flickr.com/photo/sample-owner/{i}",
    "gne": "http://www.flickr.com/photo_zoom.gne?id={i}&size=o",
    "short": "https://flic.kr/p/{b}",
    "shared": "http://farm{f}.static.flickr.com/{s}/{i}_{k}.jpg",
    "blank_in_url": "http://farm{f}.static.flickr.com/{s}/{i}_{k} (1).jpg",
    "blank": "",
    "garbled": "http:///{k}.jpg",
    "elsewhere": "http://www.example.com/images/{k}.jpg",
    "latin1": "http://www.b\xe9b\xe9.example/photo\xe9.jpg",
    "lookalike": "http://farm{f}.static.flickr.com.evil.org/{s}/{i}_{k}.jpg",
    "inside_another": "http://example.com/farm{f}.static.flickr.com/{s}/{i}_{k}.jpg",
    "ends_like_flickr": "http://notflickr.com/photos/sample-owner/{i}/",
    "profile": "http://www.flickr.com/photos/sample-owner/",
    "video_file": "https://live.staticflickr.com/video/{i}/{k}/1080p.mp4",
    "unavailable": "http://l.yimg.com/g/images/photo_unavailable.gif",
}

# Lines that no id of ours has: of no format at all, and of ImageNet's synsets outside the 1000 classes.
STRAY_LINES = (
    b"\n",
    b"# fall 2011\n",
    b"n0144076_17\thttp://farm1.static.flickr.com/1/99000000001_0123456789.jpg\n",
    b"\xff\xfe\x00\x00\n",
    b"n00004475_6590\thttp://farm4.static.flickr.com/3175/99000000002_7958dc8760.jpg\n",
    b"n00004475_15899\thttp://farm4.static.flickr.com/3276/99000000003_dc0ad5b8ef.jpg\n",
    b"n00006484_34\thttp://www.example.com/cells.jpg\n",
    b"n02084071_77\thttp://farm1.static.flickr.com/5/99000000004_0123abcdef.jpg\n",
    b"n02121808_5\thttp://static.flickr.com/9/99000000005_0123abcdef.jpg\n",
    b"n13104059_2\t\n",
    b"n01440764_999001\thttp://farm1.static.flickr.com/5/99000000006_0123abcdef.jpg\n",  # a class, but not wanted
)


@dataclass(frozen=True)
class PhotoAddress:
    """Where a photo lies on Flickr."""

    photo_id: str
    secret: str
    farm: int
    server: int
    owner: str


def list_lines(image_id: str, shape: str, place: PhotoAddress) -> list[str]:
    """The line or lines that the list has for an id; none for the shape "none"."""
    if shape == "none":
        return []
    url = _url(SHAPES.get(shape, SHAPES["farm"]), place)
    return {
        "crlf": [f"{image_id}\t{url}\r\n"],
        "extra_tab": [f"{image_id}\t{url}\textra\n"],
        "space_for_tab": [f"{image_id} {url}\n"],
        "twice_same": [f"{image_id}\t{url}\n"] * 2,
        "second_is_flickr": [f"{image_id}\thttp://www.example.net/{place.secret}.jpg\n", f"{image_id}\t{url}\n"],
        "blank_then_flickr": [f"{image_id}\t\n", f"{image_id}\t{url}\n"],
    }.get(shape, [f"{image_id}\t{url}\n"])


def _url(template: str, place: PhotoAddress) -> str:
    return template.format(
        i=place.photo_id, k=place.secret, f=place.farm, s=place.server, o=place.owner, b=_base58(int(place.photo_id))
    )


def _base58(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(_BASE58))
        digits = _BASE58[digit] + digits
    return digits
