"""Captions of whole columns by a recipe: the one place where a caption is put together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions import classes
from imagenet_captions.camera_names import without_camera_names
from imagenet_captions.image_ids import wnid_of
from imagenet_captions.recipe import CLASS_NAME, OPEN_CLIP_80, CaptionRecipe, open_clip_templates


def compose_captions(recipe: CaptionRecipe, rows: Mapping[str, pa.Array]) -> pa.Array:
    """The caption of every row, "" for a row that has none.

    `rows` are columns: image_id, and title, tags (lists) and description as far as the recipe names them, cleaned. A
    title that is a camera's file name says nothing.
    """
    words = [_field(recipe, group, rows) for group in recipe.fields]
    captions = join_filled(words, recipe.separator)
    if recipe.empty == "drop" and recipe.text_fields and CLASS_NAME in recipe.fields:
        texts = [column for group, column in zip(recipe.fields, words, strict=True) if group != CLASS_NAME]
        captions = pc.if_else(pc.equal(join_filled(texts), ""), "", captions)
    return _cut(recipe, captions)


def draw(seed: int, purpose: str, image_id: str) -> int:
    """A number that chance has set once and for all: the same for the same image on every machine.

    >>> draw(0, "template", "n01440764_10026") % 80
    46
    """
    return int.from_bytes(hashlib.blake2b(f"{seed} {purpose} {image_id}".encode(), digest_size=8).digest(), "big")


def join_filled(columns: list[pa.Array], separator: str = " ") -> pa.Array:
    """Join columns row by row, leaving out empty strings."""
    filled = [without(column, pc.equal(column, "")) for column in columns]
    # With "skip" the kernel loses a row whose values are all null (pyarrow 26), so a column without nulls goes first.
    first = pa.array([""] * len(columns[0]), pa.string())
    joined = pc.binary_join_element_wise(first, *filled, separator, null_handling="skip")
    return pc.utf8_slice_codeunits(joined, len(separator))


def without(column: pa.Array, mask: pa.Array) -> pa.Array:
    """The strings of a column, with nulls where the mask holds.

    The kernel `if_else` with a null scalar mixes up the strings of a sliced column (pyarrow 15).
    """
    return pc.replace_with_mask(column, mask, pa.scalar(None, pa.string()))


def _field(recipe: CaptionRecipe, group: str, rows: Mapping[str, pa.Array]) -> pa.Array:
    if group == CLASS_NAME:
        return _class_names(recipe, rows["image_id"])
    columns = [_text(name, rows) for name in group.split("|")]
    if len(columns) == 1:
        return columns[0]
    texts = zip(*(column.to_pylist() for column in columns), strict=True)
    chosen = []
    for image_id, candidates in zip(rows["image_id"].to_pylist(), texts, strict=True):
        filled = [text for text in candidates if text]
        chosen.append(filled[draw(recipe.seed, group, image_id) % len(filled)] if filled else "")
    return pa.array(chosen, pa.string())


def _text(name: str, rows: Mapping[str, pa.Array]) -> pa.Array:
    if name == "tags":
        return pc.binary_join(rows["tags"], " ")
    return without_camera_names(rows[name]) if name == "title" else rows[name]


def _class_names(recipe: CaptionRecipe, image_ids: pa.Array) -> pa.Array:
    """The class's name in its sentence, "" outside the 1000 classes."""
    templates = open_clip_templates() if recipe.template == OPEN_CLIP_80 else (recipe.template,)
    names = {wnid: _names_of(wnid, recipe.names) for wnid in classes.wnids()}
    made = []
    for image_id in image_ids.to_pylist():
        known = names.get(wnid_of(image_id))
        if known is None:
            made.append("")
            continue
        name = known[draw(recipe.seed, "name", image_id) % len(known)] if len(known) > 1 else known[0]
        template = templates[draw(recipe.seed, "template", image_id) % 80] if len(templates) > 1 else templates[0]
        made.append(template.replace("{}", name))
    return pa.array(made, pa.string())


def _names_of(wnid: str, names: str) -> tuple[str, ...]:
    class_ = classes.by_wnid(wnid)
    return (class_.name,) if names == "curated" else class_.lemmas


def _cut(recipe: CaptionRecipe, captions: pa.Array) -> pa.Array:
    """Cut what is longer than the recipe allows: at a word, then at a character; cut words are joined by one blank."""
    if (most := recipe.max_words) is not None:
        captions = pa.array([_first_words(text, most) for text in captions.to_pylist()], pa.string())
    if (most := recipe.max_chars) is not None:
        captions = pc.utf8_rtrim_whitespace(pc.utf8_slice_codeunits(captions, 0, most))
    return captions


def _first_words(text: str, most: int) -> str:
    words = text.split(None, most)
    return " ".join(words[:most]) if len(words) > most else text
