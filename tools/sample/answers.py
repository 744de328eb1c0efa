"""Answers of flickr.photos.getInfo in their true shape, with the drift that real ones have."""

from __future__ import annotations

import random
from typing import Any

from addresses import PhotoAddress
from photos import Entry

_LOCATION = {
    "latitude": "41.499320", "longitude": "-81.694361", "accuracy": "15", "context": "0",
    "locality": {"_content": "Somewhere"}, "region": {"_content": "Ohio"}, "country": {"_content": "United States"},
}  # fmt: skip
_VIDEO = {"ready": "1", "failed": "0", "pending": "0", "duration": "11", "width": "500", "height": "281"}


def answer(entry: Entry, place: PhotoAddress, rng: random.Random) -> dict[str, Any]:
    """What Flickr answers about an entry's photo."""
    if entry.fails:
        code, message = entry.fails
        return {"stat": "fail", "code": code, "message": message}
    photo = _photo(entry, place, rng)
    for path, value in entry.changes.items():
        _change(photo, path.split("."), {"location": _LOCATION, "video": _VIDEO}.get(path, value))
    return {"photo": photo, "stat": "ok"}


def _photo(entry: Entry, place: PhotoAddress, rng: random.Random) -> dict[str, Any]:
    posted = rng.randrange(1_136_073_600, 1_293_840_000)  # 2006 to 2010, the years of ImageNet's lists
    taken = (
        f"{rng.randrange(2005, 2011)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d} 1{rng.randrange(10)}:30:00"
    )
    alias = f"sample-{place.owner[:9]}"
    return {
        "id": place.photo_id,
        "secret": place.secret,
        "server": str(place.server),
        "farm": place.farm,
        "dateuploaded": str(posted),
        "isfavorite": 0,
        "license": str(rng.randrange(7)),
        "safety_level": "0",
        "rotation": 0,
        "originalsecret": f"{rng.getrandbits(40):010x}",
        "originalformat": "jpg",
        "owner": {
            "nsid": place.owner, "username": f"Sample {place.owner[6:9]}", "realname": "", "location": "",
            "iconserver": "0", "iconfarm": 0, "path_alias": alias,
            "gift": {"gift_eligible": "", "new_flow": "1"},
        },
        "title": {"_content": entry.title},
        "description": {"_content": entry.description},
        "visibility": {"ispublic": 1, "isfriend": 0, "isfamily": 0},
        "dates": {
            "posted": str(posted), "taken": taken, "takengranularity": "0", "takenunknown": "0",
            "lastupdate": str(posted + 86_400),
        },
        "views": str(rng.randrange(2000)),
        "editability": {"cancomment": 0, "canaddmeta": 0},
        "publiceditability": {"cancomment": 1, "canaddmeta": 0},
        "usage": {"candownload": 1, "canblog": 0, "canprint": 0, "canshare": 1},
        "comments": {"_content": str(rng.randrange(9))},
        "notes": {"note": []},
        "people": {"haspeople": 0},
        "tags": {"tag": [_tag(text, place, number) for number, text in enumerate(entry.tags, start=1)]},
        "urls": {
            "url": [
                {"type": "photopage", "_content": f"https://www.flickr.com/photos/{alias}/{place.photo_id}/"},
            ]
        },
        "media": "photo",
    }  # fmt: skip


def _tag(text: str, place: PhotoAddress, number: int) -> dict[str, Any]:
    viewer, raw = text.startswith("viewer: "), text.removeprefix("viewer: ")
    machine = ":" in raw and "=" in raw
    return {
        "id": f"990000000-{place.photo_id}-{number}",
        "author": "990000999@N00" if viewer else place.owner,
        "authorname": "Viewer" if viewer else f"Sample {place.owner[6:9]}",
        "raw": raw,
        # Flickr's normal form; a tag of signs alone has none left.
        "_content": raw.lower() if machine else "".join(c for c in raw.lower() if c.isalnum()),
        "machine_tag": int(machine),
    }


def _change(photo: dict[str, Any], path: list[str], value: Any) -> None:
    *folders, last = path
    for folder in folders:
        photo = photo[folder]
    if value is ...:
        del photo[last]
    else:
        photo[last] = value
