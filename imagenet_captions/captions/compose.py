"""Compose the captions of whole columns by a template, and recognize titles that are file names of cameras."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.captions.caption_template import CLASS_NAME, OPEN_CLIP_80, CaptionTemplate, open_clip_templates
from imagenet_captions.errors import InputError
from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.image_ids import wnid_of

TEMPLATE_COLUMNS = ("image_id", "title", "tags", "description")
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


def is_camera_name(title: str) -> bool:
    """Return whether a whole title is a camera's file name; captions leave such a title out."""
    return re.search(CAMERA_NAME, title) is not None


def without_camera_names(titles: pa.Array) -> pa.Array:
    """Replace titles that are a camera's file name by ""."""
    return pc.if_else(pc.match_substring_regex(titles, CAMERA_NAME), "", titles)


def compose_captions(template: CaptionTemplate, rows: Mapping[str, pa.Array], epoch: int | None = None) -> pa.Array:
    """Return the caption of every row, "" for a row without one.

    `rows` are columns: image_id, and those of title, tags (lists) and description that the template names. A title that
    is a camera's file name counts as empty, unless the template keeps it. Class names are looked up by image id, unless
    the column `class_names` gives a list of names for each row.

    Random choices are the same each time, or differ by `epoch` in a training run. Of a list of captions each epoch has
    the next; without an epoch a list raises InputError.
    """
    if template.is_list:
        if epoch is None:
            raise InputError("captions=list makes several captions for an image; it is for exports and for training")
        lists = caption_lists(template, rows, epoch).to_pylist()
        return pa.array([each[epoch % len(each)] if each else "" for each in lists], pa.string())
    captions = join_filled(_words(template, rows, epoch), template.separator)
    return _cut(template, captions)


def caption_lists(template: CaptionTemplate, rows: Mapping[str, pa.Array], epoch: int | None = None) -> pa.Array:
    """Return the captions of every row as a list: one for each field, without empty and repeated ones."""
    columns = [_cut(template, column).to_pylist() for column in _words(template, rows, epoch)]
    lists = [list(dict.fromkeys(filter(None, captions))) for captions in zip(*columns, strict=True)]
    return pa.array(lists, pa.list_(pa.string()))


def draw(seed: int, purpose: str, image_id: str) -> int:
    """Return a pseudo-random number that depends only on the arguments, and is the same on every machine."""
    text = f"{seed} {purpose} {image_id}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


@cache
def names_of(wnid: str, names: str) -> tuple[str, ...]:
    """Return the names of a class, none if the wnid is not a class of ImageNet."""
    class_ = classes.find(wnid)
    if class_ is None:
        return ()
    return (class_.name,) if names == "curated" else class_.lemmas


def join_filled(columns: list[pa.Array], separator: str = " ") -> pa.Array:
    """Join columns row by row, without empty strings."""
    filled = [without(column, pc.equal(column, "")) for column in columns]
    # With "skip" the kernel loses a row whose values are all null (pyarrow 26), so a column without nulls goes first.
    first = pa.array([""] * len(columns[0]), pa.string())
    joined = pc.binary_join_element_wise(first, *filled, separator, null_handling="skip")
    return pc.utf8_slice_codeunits(joined, len(separator))


def without(column: pa.Array, mask: pa.Array) -> pa.Array:
    """Replace the strings of a column by null where the mask is true.

    The kernel `if_else` with a null scalar mixes up the strings of a sliced column (pyarrow 15).
    """
    return pc.replace_with_mask(column, mask, pa.scalar(None, pa.string()))


def _words(template: CaptionTemplate, rows: Mapping[str, pa.Array], epoch: int | None) -> list[pa.Array]:
    """Return the words of each field, or group of fields of which one is drawn; none where nothing is to be said."""
    words = []
    for group in template.fields:
        if group == CLASS_NAME:
            words.append(_class_names(template, rows, epoch))
            continue
        columns = [_text(template, name, rows[name]) for name in group.split("|")]
        if len(columns) > 1:
            chosen = []
            texts = zip(*(column.to_pylist() for column in columns), strict=True)
            for image_id, candidates in zip(rows["image_id"].to_pylist(), texts, strict=True):
                filled = [text for text in candidates if text]
                chosen.append(_choose(template, epoch, group, image_id, filled))
            columns = [pa.array(chosen, pa.string())]
        words += columns
    if template.empty == "drop" and template.text_fields and CLASS_NAME in template.fields:
        # A row whose photographer wrote nothing has no caption of the class alone.
        fields = zip(template.fields, words, strict=True)
        written = [column for group, column in fields if group != CLASS_NAME]
        nothing = pc.equal(join_filled(written), "")
        words = [pc.if_else(nothing, "", column) for column in words]
    return words


def _text(template: CaptionTemplate, name: str, column: pa.Array) -> pa.Array:
    if name == "title" and template.camera_names == "drop":
        return without_camera_names(column)
    if name != "tags":
        return column
    each = pc.list_flatten(column)
    if each.null_count or pc.any(pc.equal(each, "")).as_py():  # raw tags may be empty
        joined = [" ".join(filter(None, row or ())) for row in column.to_pylist()]
        return pa.array(joined, pa.string())
    return pc.binary_join(column, " ")


def _class_names(template: CaptionTemplate, rows: Mapping[str, pa.Array], epoch: int | None) -> pa.Array:
    """Return the class's name in its sentence, "" without a class."""
    sentences = open_clip_templates() if template.template == OPEN_CLIP_80 else (template.template,)
    image_ids = rows["image_id"].to_pylist()
    if "class_names" in rows:
        names = rows["class_names"].to_pylist()
    else:
        names = [names_of(wnid_of(image_id), template.names) for image_id in image_ids]
    made = []
    for image_id, known in zip(image_ids, names, strict=True):
        name = _choose(template, epoch, "name", image_id, known)
        sentence = _choose(template, epoch, "template", image_id, sentences)
        made.append(sentence.replace("{}", name) if known else "")
    return pa.array(made, pa.string())


def _choose(template: CaptionTemplate, epoch: int | None, purpose: str, image_id: str, among: Sequence[str]) -> str:
    """Return one of some texts at random, "" of none."""
    if len(among) < 2:
        return "".join(among)
    purpose = purpose if epoch is None else f"{purpose} in epoch {epoch}"
    return among[draw(template.seed, purpose, image_id) % len(among)]


def _cut(template: CaptionTemplate, captions: pa.Array) -> pa.Array:
    """Cut captions to `max_words`, joined by one space, then to `max_chars`."""
    if (most := template.max_words) is not None:
        made = []
        for text in captions.to_pylist():
            words = text.split(None, most)
            made.append(" ".join(words[:most]) if len(words) > most else text)
        captions = pa.array(made, pa.string())
    if (most := template.max_chars) is not None:
        captions = pc.utf8_rtrim_whitespace(pc.utf8_slice_codeunits(captions, 0, most))
    return captions
