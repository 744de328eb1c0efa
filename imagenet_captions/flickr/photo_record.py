"""The record of a Flickr photo, read from an answer of Flickr or from YFCC100M's metadata."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

LATEST_POSIX_TIME = 253402300799  # the end of the year 9999

# The remark on an image whose photo is a video; ImageNet lists the still picture that Flickr shows for it.
STILL = "a still of a video"


@dataclass(frozen=True, kw_only=True)
class PhotoRecord:
    """A photo or video; texts are exactly as given, and unknown fields are None."""

    title: str
    description: str
    tags: list[str]
    owner: str | None  # NSID
    owner_name: str | None
    license: int | None  # Flickr's number
    date_taken: datetime | None  # the camera's clock
    date_posted: int | None  # POSIX seconds
    photo_page: str | None
    is_video: bool
