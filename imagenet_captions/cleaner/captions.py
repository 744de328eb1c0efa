"""What makes a caption: the recipe, and what is in a record but says nothing about the picture."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagenet_captions.errors import InputError

FIELDS = ("title", "tags", "description")

# Flickr's machine tags, such as "geo:lat=52.1" or "dc:identifier=http://...", are data for programs.
MACHINE_TAG = r"^[A-Za-z][A-Za-z0-9_]*:[A-Za-z][A-Za-z0-9_]*="

# Names that cameras, phones and their programs give to files; Flickr makes them the title when there is no other.
_NAMES = (
    r"(?:IMG|IMAGE|PICT?|PICTURE|PHOTO|DSCN?|DSCF|DSCI|DCP|CIMG|IMGP|IMAG|KIF|PANO|PXL)[-_ ]?\d{3,12}",  # most makers
    r"(?:IMAGE|PICTURE|PHOTO|PIC)[-_ ]?\(?\d{1,4}\)?",  # "Picture 3", "Photo (12)": phones, webcams, scanners
    r"(?:IMAGE|PICTURE|PHOTO)\.JPE?G",  # iPhones by mail; without the ending it may be meant
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

# A whole title, for Python's re and for RE2 (Arrow) alike.
CAMERA_NAME = rf"(?i)^(?:{'|'.join(_NAMES)}){_COUNTER}{_EDIT}{_COUNTER}{_ENDING}$"
_CAMERA_NAME = re.compile(CAMERA_NAME)


def is_camera_name(title: str) -> bool:
    """Whether a whole title is a file's name that a camera gave; such a title is left out of captions.

    >>> is_camera_name("DSC_0139.JPG"), is_camera_name("IMG of a dog")
    (True, False)
    """
    return _CAMERA_NAME.search(title) is not None


@dataclass(frozen=True)
class CaptionRecipe:
    """Which fields make a caption, in which order; they are joined by one blank, tags among themselves too."""

    fields: tuple[str, ...] = FIELDS

    def __post_init__(self) -> None:
        known = f'give some of {", ".join(FIELDS)}, each once, such as --caption "{" ".join(FIELDS)}"'
        if not self.fields:
            raise InputError(f"a caption of no fields is not possible; {known}")
        for field in self.fields:
            if field not in FIELDS:
                raise InputError(f"there is no caption field {_shown(field)}; {known}")
            if self.fields.count(field) > 1:
                raise InputError(f"the caption field {field!r} is named twice; {known}")

    @classmethod
    def parse(cls, text: str) -> CaptionRecipe:
        """Read a recipe as a user writes it, with blanks or commas between the fields.

        >>> CaptionRecipe.parse("title, description").fields
        ('title', 'description')
        """
        return cls(tuple(text.replace(",", " ").split()))


def _shown(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")
