"""What YFCC100M's metadata looks like: its columns, two layouts of text, an SQLite table, and encoded texts.

A line has 25 fields between tabs and no header:

    0  4193131985  1a2b…  11632020@N00  hans  2009-12-17 17:08:50.0  1261134560  Canon…  Grey+heron  At+the+%3Cb%3E…  …

The first version of the file lacks the line number and the hash of the photo, and so has 23; the SQLite file has these
23 as columns. Title, description, tags and the owner's name are encoded as in a query of a URL, `+` for a blank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_plus

# Name of a field here, and the column of the SQLite table `yfcc100m_dataset` that holds it; in the order of the files.
COLUMNS = {
    "photo_id": "photoid", "owner": "uid", "owner_name": "unickname", "date_taken": "datetaken",
    "date_posted": "dateuploaded", "device": "capturedevice", "title": "title", "description": "description",
    "tags": "usertags", "machine_tags": "machinetags", "longitude": "longitude", "latitude": "latitude",
    "accuracy": "accuracy", "photo_page": "pageurl", "download_url": "downloadurl", "license_name": "licensename",
    "license_url": "licenseurl", "server": "serverid", "farm": "farmid", "secret": "secret",
    "original_secret": "secretoriginal", "extension": "ext", "marker": "marker",
}  # fmt: skip
TABLE = "yfcc100m_dataset"
VIDEO = "1"  # the marker of a video; a photo's is 0


class Layout(NamedTuple):
    """A layout of the text: how many fields a line has, and in which place the photo's id is."""

    fields: int
    photo_id: int


NEW = Layout(25, 1)
OLD = Layout(23, 0)  # version 1: neither line number nor hash
LAYOUTS = (NEW, OLD)


def named(fields: Sequence[str]) -> dict[str, str]:
    """The fields of a line of either layout by their names.

    >>> named("0 4193131985 1a2b".split() + ["x"] * 22)["photo_id"], named(["4193131985"] + ["x"] * 22)["photo_id"]
    ('4193131985', '4193131985')
    """
    values = [fields[1], *fields[3:]] if len(fields) == NEW.fields else fields
    return dict(zip(COLUMNS, values, strict=True))


def decoded(value: str) -> str:
    """A text as its owner wrote it.

    `unquote` first and `+` to blank afterwards, as some scripts do it, would make "C " of "C%2B%2B".

    >>> decoded("C%2B%2B+is+%3Cb%3Efun%3C%2Fb%3E")
    'C++ is <b>fun</b>'
    """
    return unquote_plus(value, errors="replace")


def decoded_tags(value: str) -> list[str]:
    """The tags of a field, which commas part; a comma inside a tag is encoded.

    >>> decoded_tags("grey+heron,leiden%2C+holland")
    ['grey heron', 'leiden, holland']
    """
    return [decoded(tag) for tag in value.split(",") if tag]
