"""Recognize titles that are file names of cameras. Used by cleaning and by caption templates."""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.compute as pc

# File names of cameras, phones and their programs; Flickr uses them as the title of a photo without one.
_NAMES = (
    r"(?:IMG|IMAGE|PICT?|PICTURE|PHOTO|DSCN?|DSCF|DSCI|DCP|CIMG|IMGP|IMAG|KIF|PANO|PXL)[-_ ]?\d{3,12}",  # most makers
    r"(?:IMAGE|PICTURE|PHOTO|PIC)[-_ ]?\(?\d{1,4}\)?",  # "Picture 3", "Photo (12)": phones, webcams, scanners
    r"(?:IMAGE|PICTURE|PHOTO)\.JPE?G",  # iPhones by mail; without the ending it may be a real title
    r"(?:IMG|PXL|PANO|WP|VID)[-_]\d{8}[-_](?:\d{6,9}|WA\d{4}|\d{2,3})(?:_\w{1,12})?",  # Android, Pixel, WhatsApp, Lumia
    r"\d{8}_\d{6}",  # Samsung's phones
    r"_?MG_\d{4}",  # Canon, Adobe RGB
    r"_[A-Z0-9]{3}\d{4}",  # Nikon, Sony, Fuji in Adobe RGB: _DSC1234, _D3S1234, _IGP1234
    r"_?P[1-9A-C]\d{6}",  # Olympus, Panasonic: month as one digit, day, number
    r"_[1-9A-C]\d{6}",  # Olympus, Adobe RGB
    r"\d{3}[-_]\d{4}_(?:IMG|STA|STB|STC|PANO)",  # Canon before 2004
    r"\d{3}_\d{4}",  # Kodak: 100_1234
    r"(?:CRW|STA|STB|STC|MVI|MOV|DJI|GOPR?|HPIM|SANY|SAM|SDC|FILE|IM|EX)[-_]?\d{4,8}",  # not "EX500", a motorcycle
    r"MVC-?\d{3}[A-Z]?",  # Sony Mavica
    r"[LRG]\d{7}",  # Leica, Ricoh, GoPro
)
_COUNTER = r"(?:[-_ ]?\(\d{1,3}\)|[-_ ]\d{1,3})?"  # "IMG_1234 (2)", "DSC_0001-1"
_EDIT = r"(?:[-_ ](?:edit|edited|copy|crop|cropped|resize|resized|web|small|lr|filtered|pp))*"
_ENDING = r"(?:\.(?:jpe?g|png|gif|tiff?|bmp|heic|cr2|crw|nef|arw|orf|rw2|raf|pef|dng|raw|psd))?"

# Matches a whole title; for Python's re and for RE2 (Arrow).
CAMERA_NAME = rf"(?i)^(?:{'|'.join(_NAMES)}){_COUNTER}{_EDIT}{_COUNTER}{_ENDING}$"
_CAMERA_NAME = re.compile(CAMERA_NAME)


def is_camera_name(title: str) -> bool:
    """Return whether a whole title is a camera's file name; captions leave such a title out.

    >>> is_camera_name("DSC_0139.JPG"), is_camera_name("IMG of a dog")
    (True, False)
    """
    return _CAMERA_NAME.search(title) is not None


def without_camera_names(titles: pa.Array) -> pa.Array:
    """Replace titles that are a camera's file name by ""."""
    return pc.if_else(pc.match_substring_regex(titles, CAMERA_NAME), "", titles)
