"""The format of YFCC100M's metadata: its columns, two layouts of text, an SQLite table, and encoded texts.

A line has 25 fields between tabs and no header:

    0  4193131985  1a2b…  11632020@N00  hans  2009-12-17 17:08:50.0  1261134560  Canon…  Grey+heron  At+the+%3Cb%3E…  …

The first version of the file has 23, without the line number and the hash of the photo; the SQLite file has these 23 as
columns. Title, description, tags and the owner's name are encoded as in the query of a URL, with `+` for a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_plus

# Our name of each field, and its column in the SQLite table `yfcc100m_dataset`; in the order of the files.
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
    """A layout of the text: the number of fields in a line, and the index of the photo's id."""

    fields: int
    photo_id: int


NEW = Layout(25, 1)
OLD = Layout(23, 0)  # version 1: neither line number nor hash
LAYOUTS = (NEW, OLD)


def named(fields: Sequence[str]) -> dict[str, str]:
    """Return the fields of a line by name, for either layout.

    >>> named("0 4193131985 1a2b".split() + ["x"] * 22)["photo_id"], named(["4193131985"] + ["x"] * 22)["photo_id"]
    ('4193131985', '4193131985')
    """
    values = [fields[1], *fields[3:]] if len(fields) == NEW.fields else fields
    return dict(zip(COLUMNS, values, strict=True))


def decoded(value: str) -> str:
    """Return a text as its owner wrote it.

    Scripts that first unquote and then replace `+` by a space make "C " of "C%2B%2B".

    >>> decoded("C%2B%2B+is+%3Cb%3Efun%3C%2Fb%3E")
    'C++ is <b>fun</b>'
    """
    return unquote_plus(value, errors="replace")


def decoded_tags(value: str) -> list[str]:
    """Return the tags of a field, which are separated by commas; a comma inside a tag is encoded.

    >>> decoded_tags("grey+heron,leiden%2C+holland")
    ['grey heron', 'leiden, holland']
    """
    return [decoded(tag) for tag in value.split(",") if tag]
