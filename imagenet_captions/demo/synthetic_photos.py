"""Make answers of flickr.photos.getInfo up, the same for the same photo id, in every form that Flickr sends."""

from __future__ import annotations

import random
from typing import Any

_PHRASES = (
    "a walk along the river",
    "our dog",
    "late autumn",
    "an old heron",
    "by the mill pond",
    "green frog",
    "on wet stone",
    "market day",
    "harbour lights",
    "quiet morning",
    "two robins",
    "near the gate",
)
_DESCRIPTIONS = (
    "",
    'Seen at <a href="https://www.flickr.com/groups/her/" rel="noreferrer nofollow">the heronry</a> &amp; <b>kept</b>.',
    "Ein Fuchs im Schnee, früh am Morgen.",
    "Handheld, 1/250 s &lt;3\n\nall rights mine",
    "池の亀 🐢",
)


def synthetic_answer(photo_id: str) -> dict[str, Any]:
    """Return the answer for a photo; one in ten is not found, one in fifty is private.

    >>> synthetic_answer("7") == synthetic_answer("7")
    True
    """
    chance = random.Random(photo_id)
    drawn = chance.random()
    if drawn < 0.1:
        return {"stat": "fail", "code": 1, "message": f'Photo "{photo_id}" not found (invalid ID)'}
    if drawn < 0.12:
        return {"stat": "fail", "code": 2, "message": "Permission denied"}
    return {"photo": synthetic_photo(photo_id), "stat": "ok"}


def synthetic_photo(photo_id: str) -> dict[str, Any]:
    """Return the photo itself, never missing."""
    chance = random.Random("photo " + photo_id)
    nsid = f"{chance.randrange(10**7, 10**8)}@N0{chance.randrange(9)}"
    posted = chance.randrange(1_100_000_000, 1_330_000_000)
    tags = [_some_phrases(chance, 2) for _ in range(chance.choice((0, 2, 6, 12)))]
    return {
        "id": photo_id,
        "secret": f"{chance.getrandbits(40):010x}",
        "server": str(chance.randrange(1, 9000)),
        "farm": chance.randrange(1, 10),
        "dateuploaded": str(posted),
        "isfavorite": 0,
        "license": chance.choice((0, "0", 4, "5", "2")),  # both types are seen
        "safety_level": chance.choice((0, "0")),
        "rotation": 0,
        "owner": {
            "nsid": nsid,
            "username": f"walker {nsid[:3]}",
            "realname": "",
            "location": "",
            "path_alias": chance.choice((None, "", "walker")),
        },
        "title": {"_content": chance.choice(("", "IMG_2044", _some_phrases(chance, 3).capitalize()))},
        "description": {"_content": chance.choice((*_DESCRIPTIONS, _some_phrases(chance, 12)))},
        "visibility": {"ispublic": 1, "isfriend": 0, "isfamily": 0},
        "dates": {
            "posted": str(posted),
            "taken": f"20{chance.randrange(4, 12):02d}-0{chance.randrange(1, 10)}-1{chance.randrange(10)} 09:30:00",
            "takengranularity": chance.choice((0, "0")),
            "takenunknown": "0",
            "lastupdate": str(posted + 1000),
        },
        "views": str(chance.randrange(1000)),
        "comments": {"_content": chance.choice((3, "0"))},
        "notes": {"note": []},
        "people": {"haspeople": 0},
        "tags": {
            "tag": [
                {
                    "id": f"{photo_id}-{number}",
                    "author": nsid,
                    "authorname": "walker",
                    "raw": raw,
                    "_content": raw.replace(" ", ""),
                    "machine_tag": 0,
                }
                for number, raw in enumerate(tags)
            ]
        },
        "urls": {"url": [{"type": "photopage", "_content": f"https://www.flickr.com/photos/{nsid}/{photo_id}/"}]},
        "media": "photo",
    }


def _some_phrases(chance: random.Random, most: int) -> str:
    return " ".join(chance.choice(_PHRASES) for _ in range(chance.randrange(1, most + 1)))
