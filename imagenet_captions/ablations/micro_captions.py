"""Titles, descriptions and tags for images that have none, as photographers might have written them.

The micro experiments run on CIFAR's photos, which have a class and no text; language can only be varied where there is
language. So each image gets texts that differ as Flickr's do: names and synonyms, looks that are really the image's,
scenes that hint at the class, and words that say nothing. One text in ten does not name the class anywhere. The texts
are made up, and no result on them says anything about real text.

micro_words.tsv has the words: our choice, and few, since a text tower of a million weights has to learn all of them.
Its second column is the class, or the value of an attribute, that a text goes with; a scene without one goes with any
class. In sentences `{subject}` is the class's name or a synonym, `{look}` is an attribute of the image, and the other
fields are drawn from the list of that name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenet_captions.captions.compose import draw
from imagenet_captions.errors import InputError, quoted

Pixels = npt.NDArray[np.uint8]

# On CIFAR's photos each of these holds for about one image in six, so that a word for it tells images apart.
DARK, BRIGHT = 90.0, 150.0  # mean luma, of 255
SOFT, CRISP = 35.0, 65.0  # standard deviation of the luma
SMALL = 0.40  # share of the edges within the middle quarter of the area: a subject with little around it
CLOSE = 0.39  # share of the edges in the outer eighth of each side: a subject that goes on beyond the frame
COLOR = 0.35  # share of the pixels that one color needs to be named

_LUMA = np.array([0.299, 0.587, 0.114])
# Where a hue ends, in degrees; from 345 on it is red again.
_HUES = (
    (15, "red"),
    (42, "orange"),
    (70, "yellow"),
    (165, "green"),
    (195, "turquoise"),
    (260, "blue"),
)
_HUES_AFTER = ((300, "purple"), (345, "pink"), (361, "red"))


@dataclass(frozen=True)
class Attributes:
    """How an image looks; an attribute is "" if it is ordinary."""

    light: str  # "dark", "bright"
    color: str  # "red", "brown", "grey", …
    framing: str  # "close" (the subject goes beyond the frame), "small" (in the middle of a plain ground)
    contrast: str  # "soft", "crisp"


def read_attributes(pixels: Pixels) -> Attributes:
    """Return light, dominant color, framing and contrast of an RGB image, `uint8` of [height, width, 3].

    >>> red = np.zeros((32, 32, 3), np.uint8)
    >>> red[..., 0] = 250
    >>> read_attributes(red)
    Attributes(light='dark', color='red', framing='', contrast='soft')
    """
    luma = pixels @ _LUMA
    mean, spread = float(luma.mean()), float(luma.std())
    return Attributes(
        light="dark" if mean < DARK else "bright" if mean > BRIGHT else "",
        color=_color(pixels),
        framing=_framing(luma),
        contrast="soft" if spread < SOFT else "crisp" if spread > CRISP else "",
    )


def _framing(luma: npt.NDArray[np.float64]) -> str:
    edges = np.zeros_like(luma)
    edges[:, :-1] += np.abs(np.diff(luma, axis=1))
    edges[:-1] += np.abs(np.diff(luma, axis=0))
    total = float(edges.sum())
    if total < luma.size:  # less than one level a pixel: a plain surface has no subject
        return ""
    if _inside(edges, 4) > SMALL * total:
        return "small"
    return "close" if total - _inside(edges, 8) > CLOSE * total else ""


def _inside(edges: npt.NDArray[np.float64], part: int) -> float:
    """Return the sum over the image without 1/part of its size at each side."""
    down, across = edges.shape[0] // part, edges.shape[1] // part
    return float(edges[down : edges.shape[0] - down, across : edges.shape[1] - across].sum())


def _color(pixels: Pixels) -> str:
    """Return the most frequent color, or "" if it has less than `COLOR` of the pixels."""
    rgb = pixels.reshape(-1, 3).astype(np.float64) / 255
    value, low = rgb.max(axis=1), rgb.min(axis=1)
    chroma = value - low
    names = np.full(len(rgb), "grey", dtype="<U9")
    hue = _hue(rgb, value, chroma)
    start = 0.0
    for end, name in (*_HUES, *_HUES_AFTER):
        names[(hue >= start) & (hue < end)] = name
        start = end
    names[(names == "orange") & (value < 0.75)] = "brown"
    plain = chroma < 0.18 * value
    names[plain] = "grey"
    names[plain & (value > 0.85)] = "white"
    names[value < 0.2] = "black"
    found, counts = np.unique(names, return_counts=True)
    most = int(counts.argmax())
    return str(found[most]) if counts[most] >= COLOR * len(rgb) else ""


def _hue(rgb: npt.NDArray[np.float64], value: Any, chroma: Any) -> npt.NDArray[np.float64]:
    red, green, blue = rgb.T
    safe = np.where(chroma == 0, 1, chroma)
    sixth = np.select(
        [value == red, value == green],
        [(green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    return np.asarray(60 * sixth, dtype=np.float64)


_WORDS = Path(__file__).with_name("micro_words.tsv")

# Shares, each of all images unless it says otherwise. They were set by trial so that a micro model learns in
# minutes: with the class named less often, and looks and places more, zero-shot accuracy was lower.
NAMED = 0.9  # of the texts that name the class in at least one field, by its name or a synonym
SYNONYM = 0.3  # of the mentions that use a synonym (independently in each field)
# Of the texts that name the class: how many name it in this field. The title does if no other field did.
TITLE_NAMES, DESCRIPTION_NAMES, TAGS_NAME = 0.8, 0.75, 0.8
HAS_DESCRIPTION, HAS_TAGS = 0.65, 0.9  # a title is always there
LOOK_SAID = 0.5  # of what could be said about the image's looks
DISTRACTOR = 0.2  # of each kind of tag that has nothing to do with the image: place, camera, season, occasion
SCENE_FITS = 0.6  # of the scenes that are one of the class's own, rather than anywhere

_DISTRACTORS = ("place", "camera", "season", "occasion")
_LONGEST_NAME = 80
_BEFORE_VOWEL = re.compile(r"\ba (?=[aeiou])")


@cache
def read_words() -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the lists of micro_words.tsv by name and by what they go with, in the order of the file.

    >>> read_words()["synonym", "dog"]
    ('puppy', 'pup', 'hound')
    """
    found: dict[tuple[str, str], list[str]] = {}
    with _WORDS.open(encoding="utf-8", newline="") as opened:
        for row in csv.DictReader(opened, delimiter="\t"):
            found.setdefault((row["list"], row["of"]), []).append(row["text"])
    return {key: tuple(texts) for key, texts in found.items()}


@dataclass(frozen=True)
class MicroTexts:
    """The texts of one image; description and tags may be empty, the title never is."""

    title: str
    description: str
    tags: tuple[str, ...]


def micro_texts(pixels: Pixels, class_name: str, image_id: str, seed: int = 0) -> MicroTexts:
    """Return texts for an RGB image, `uint8` of [height, width, 3]; the same image, id, class and seed give the same.

    >>> import numpy as np
    >>> meadow = np.full((32, 32, 3), (40, 200, 40), np.uint8)
    >>> micro_texts(meadow, "horse", "horse_0005").title
    'A horse, hazy'
    """
    name = " ".join(class_name.split())
    if not name or len(name) > _LONGEST_NAME:
        raise InputError(f"the class name {quoted(class_name)} is empty or too long; give 1 to {_LONGEST_NAME} letters")
    chance = _Chance(seed, image_id)
    looks = _looks(read_attributes(pixels), chance)
    named = chance.happens("named", NAMED)
    in_description = chance.happens("has description", HAS_DESCRIPTION)
    in_tags = chance.happens("has tags", HAS_TAGS)
    description_names = named and in_description and chance.happens("description names", DESCRIPTION_NAMES)
    tags_name = named and in_tags and chance.happens("tags name", TAGS_NAME)
    others = description_names or tags_name
    title_names = named and (not others or chance.happens("title names", TITLE_NAMES))
    return MicroTexts(
        title=_sentence("title", title_names, name, looks, chance),
        description=_sentence("description", description_names, name, looks, chance) if in_description else "",
        tags=_tags(name, tags_name, looks, chance) if in_tags else (),
    )


@dataclass(frozen=True)
class _Chance:
    """Random decisions about one image; each follows from the seed, the image's id and the decision's name."""

    seed: int
    image_id: str

    def happens(self, purpose: str, share: float) -> bool:
        return draw(self.seed, f"micro {purpose}", self.image_id) < share * 2**64

    def pick(self, purpose: str, options: Sequence[str]) -> str:
        return options[draw(self.seed, f"micro {purpose}", self.image_id) % len(options)]


def _looks(seen: Attributes, chance: _Chance) -> tuple[str, ...]:
    """Return a phrase for about half of the attributes that the image has."""
    found = [
        chance.pick(kind, read_words()[kind, value])
        for kind, value in (
            ("light", seen.light),
            ("contrast", seen.contrast),
            ("framing", seen.framing),
        )
        if value and chance.happens(f"says {kind}", LOOK_SAID)
    ]
    # The purposes keep their spelling, since every draw depends on it.
    if seen.color and chance.happens("says colour", LOOK_SAID):
        found.append(chance.pick("colour", read_words()["color", ""]).format(seen.color))
    return tuple(found)


def _sentence(field: str, names: bool, name: str, looks: tuple[str, ...], chance: _Chance) -> str:
    words = read_words()
    pattern = chance.pick(f"{field} pattern", words[f"{field} {'with' if names else 'without'} class", ""])
    filled = pattern.format(
        subject=_subject(field, name, chance),
        look=chance.pick(f"{field} look", looks) if looks else "",
        scene=_scene(field, name, chance),
        **{kind: chance.pick(kind, words[kind, ""]) for kind in _DISTRACTORS},
    )
    text = " ".join(filled.split()).replace(" ,", ",").replace(" .", "").strip(" ,")
    text = _BEFORE_VOWEL.sub("an ", text)
    return text[:1].upper() + text[1:] if text else chance.pick("place", words["place", ""])


def _subject(field: str, name: str, chance: _Chance) -> str:
    synonyms = read_words().get(("synonym", name), ())
    if synonyms and chance.happens(f"{field} synonym", SYNONYM):
        return chance.pick(f"{field} which synonym", synonyms)
    return name


def _scene(field: str, name: str, chance: _Chance) -> str:
    words = read_words()
    fits = ("scene", name) in words and chance.happens(f"{field} scene fits", SCENE_FITS)
    return chance.pick(f"{field} scene", words["scene", name if fits else ""])


def _tags(name: str, names: bool, looks: tuple[str, ...], chance: _Chance) -> tuple[str, ...]:
    """Return up to six different tags in a random order."""
    candidates = [look for look in looks if chance.happens(f"tag {look}", 0.5)]
    candidates += [_scene("tags", name, chance)] if chance.happens("tag scene", 0.6) else []
    for kind in _DISTRACTORS:
        candidates += (
            [chance.pick(kind, read_words()[kind, ""]).lower()] if chance.happens(f"tag {kind}", DISTRACTOR) else []
        )
    if names:
        candidates.append(_subject("tags", name, chance))
    ordered = sorted(set(candidates), key=lambda tag: draw(chance.seed, f"micro order {tag}", chance.image_id))
    kept = ordered[:6]
    # The name is never the tag that is cut.
    return tuple(kept if not names or candidates[-1] in kept else [*kept[:-1], candidates[-1]])
