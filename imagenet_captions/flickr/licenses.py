"""The licenses of Flickr photos: Flickr's number, short name, full name and page."""

from __future__ import annotations

from dataclasses import dataclass

from imagenet_captions.errors import InputError, quoted

_CC = "https://creativecommons.org"


@dataclass(frozen=True)
class License:
    """A license in Flickr's list."""

    id: int
    short_name: str
    name: str
    url: str | None  # None: all rights reserved has no page


# flickr.photos.licenses.getInfo, as seen 2025-06-19.
LICENSES = (
    License(0, "all-rights-reserved", "All Rights Reserved", None),
    License(1, "by-nc-sa-2.0", "CC BY-NC-SA 2.0", f"{_CC}/licenses/by-nc-sa/2.0/"),
    License(2, "by-nc-2.0", "CC BY-NC 2.0", f"{_CC}/licenses/by-nc/2.0/"),
    License(3, "by-nc-nd-2.0", "CC BY-NC-ND 2.0", f"{_CC}/licenses/by-nc-nd/2.0/"),
    License(4, "by-2.0", "CC BY 2.0", f"{_CC}/licenses/by/2.0/"),
    License(5, "by-sa-2.0", "CC BY-SA 2.0", f"{_CC}/licenses/by-sa/2.0/"),
    License(6, "by-nd-2.0", "CC BY-ND 2.0", f"{_CC}/licenses/by-nd/2.0/"),
    License(7, "no-known-restrictions", "No known copyright restrictions", "https://www.flickr.com/commons/usage/"),
    License(8, "us-government-work", "United States Government Work", "https://www.usa.gov/government-copyright"),
    License(9, "cc0-1.0", "CC0 1.0", f"{_CC}/publicdomain/zero/1.0/"),
    License(10, "pdm-1.0", "Public Domain Mark 1.0", f"{_CC}/publicdomain/mark/1.0/"),
    License(11, "by-4.0", "CC BY 4.0", f"{_CC}/licenses/by/4.0/"),
    License(12, "by-sa-4.0", "CC BY-SA 4.0", f"{_CC}/licenses/by-sa/4.0/"),
    License(13, "by-nd-4.0", "CC BY-ND 4.0", f"{_CC}/licenses/by-nd/4.0/"),
    License(14, "by-nc-4.0", "CC BY-NC 4.0", f"{_CC}/licenses/by-nc/4.0/"),
    License(15, "by-nc-sa-4.0", "CC BY-NC-SA 4.0", f"{_CC}/licenses/by-nc-sa/4.0/"),
    License(16, "by-nc-nd-4.0", "CC BY-NC-ND 4.0", f"{_CC}/licenses/by-nc-nd/4.0/"),
)


def find_license(number: int | None) -> License | None:
    """Return the license with Flickr's number, or None if there is none.

    >>> find_license(4).name, find_license(99), find_license(None)
    ('CC BY 2.0', None, None)
    """
    return next((entry for entry in LICENSES if entry.id == number), None)


def allows_sharing(number: int | None) -> bool:
    """Return whether a photo with this license may be shared: not if all rights are reserved, or if it is unknown.

    >>> allows_sharing(4), allows_sharing(0), allows_sharing(None)
    (True, False, False)
    """
    return any(entry.id == number and entry.url is not None for entry in LICENSES)


def resolve_license(name: str | int) -> tuple[int, ...]:
    """Return Flickr's numbers for a license given as number, short name or full name; without a version, all versions.

    >>> resolve_license("by"), resolve_license("CC BY 2.0"), resolve_license(9), resolve_license("cc0")
    ((4, 11), (4,), (9,), (9,))
    """
    folded = _folded(str(name))
    found = tuple(
        entry.id
        for entry in LICENSES
        if folded in (str(entry.id), entry.short_name, _without_version(entry.short_name), _folded(entry.name))
    )
    if not found:
        names = dict.fromkeys(_without_version(entry.short_name) for entry in LICENSES)
        raise InputError(
            f"{quoted(name)} is not a license of Flickr's; give a number (0 to {LICENSES[-1].id}) or one of "
            f"{', '.join(names)}, with or without a version as in by-2.0"
        )
    return found


def _folded(name: str) -> str:
    return "-".join(name.lower().split()).removeprefix("cc-")


def _without_version(short_name: str) -> str:
    return short_name.removesuffix("-1.0").removesuffix("-2.0").removesuffix("-4.0")
