"""Parse an answer of flickr.photos.getInfo into a `PhotoRecord`.

Flickr's types vary: a number may come as text, a key may be null or missing, and a text may come bare or as
{"_content": text}. A field that cannot be read becomes null, or empty where null is not allowed; nothing here raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from imagenet_captions.flickr.photo_record import LATEST_POSIX_TIME, PhotoRecord


def parse_photo(photo_id: str, photo: dict[str, Any]) -> PhotoRecord:
    """Return the record of the `photo` object in an answer.

    >>> parse_photo("7", {"title": {"_content": "Heron"}, "license": "4", "owner": {"nsid": "1@N01"}}).photo_page
    'https://www.flickr.com/photos/1@N01/7/'
    """
    owner, dates = _object(photo.get("owner")), _object(photo.get("dates"))
    nsid = _text(owner.get("nsid")) or None
    return PhotoRecord(
        title=_text(photo.get("title")),
        description=_text(photo.get("description")),
        tags=list(_tags(photo.get("tags"))),
        owner=nsid,
        owner_name=_text(owner.get("username")) or None,
        license=_number(photo.get("license"), 127),
        date_taken=None if _text(dates.get("takenunknown")) == "1" else _moment(dates.get("taken")),
        date_posted=_number(dates.get("posted") or photo.get("dateuploaded"), LATEST_POSIX_TIME),
        photo_page=_photo_page(photo_id, nsid, photo.get("urls")),
        is_video=_text(photo.get("media")) == "video",
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str:
    """Return the text of a value, bare or as {"_content": text}."""
    if isinstance(value, dict):
        value = value.get("_content")
    if type(value) is str and value.isascii():
        return value
    if value is None or isinstance(value, dict | list):
        return ""
    text = value if isinstance(value, str) else str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        # JSON can hold half of a surrogate pair ("\\ud83d"), which is not a character and which Arrow refuses.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _tags(value: Any) -> Iterator[str]:
    # {"tag": [{"raw": "New York City", "_content": "newyorkcity", "machine_tag": 0}, …]}
    for tag in _list(_object(value).get("tag")):
        raw = tag.get("raw") if isinstance(tag, dict) else None
        yield _text(tag if raw is None else raw)


def _number(value: Any, largest: int) -> int | None:
    text = _text(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        return None
    return int(text) if int(text) <= largest else None


def _moment(value: Any) -> datetime | None:
    """Return a time by the camera's clock; "0000-00-00 00:00:00" means unknown."""
    try:
        moment = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return moment.replace(tzinfo=None, microsecond=0)


def _photo_page(photo_id: str, nsid: str | None, urls: Any) -> str | None:
    for url in _list(_object(urls).get("url")):
        address = _text(url)
        if _object(url).get("type") == "photopage" and address.startswith(("https://", "http://")):
            return address
    return f"https://www.flickr.com/photos/{nsid}/{photo_id}/" if nsid else None
