"""Titles, descriptions and tags for images that have none, as photographers might have written them.

The micro experiments run on CIFAR's photos, which have a class and no text. Language can only be varied, at training
or at test time, where there is language; so each image gets texts that differ as Flickr's do: names and synonyms,
looks that are really the image's (`micro_attributes`), scenes that hint at the class, and words that say nothing. One
text in ten does not name the class anywhere. They are made up, and no result on them says anything about real text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from imagenet_captions.ablations.micro import words
from imagenet_captions.ablations.micro.attributes import Attributes, Pixels, read_attributes
from imagenet_captions.captions.compose import draw
from imagenet_captions.errors import InputError, quoted

# Shares, each of all images unless it says otherwise. They were set by trial so that a micro model learns in
# minutes: with the class named less often, and looks and places more, zero-shot accuracy was lower.
NAMED = 0.9  # of the texts that name the class in at least one field, by its name or a synonym
SYNONYM = 0.3  # of the mentions that use a synonym (independently in each field)
TITLE_NAMES, DESCRIPTION_NAMES, TAGS_NAME = (
    0.8,
    0.75,
    0.8,
)  # of the named: which of the fields do; the title if none did
HAS_DESCRIPTION, HAS_TAGS = 0.65, 0.9  # a title is always there
LOOK_SAID = 0.5  # of what could be said about the image's looks
DISTRACTOR = 0.2  # of each kind of tag that has nothing to do with the image: place, camera, season, occasion
SCENE_FITS = 0.6  # of the scenes that are one of the class's own, rather than anywhere

_LONGEST_NAME = 80
_BEFORE_VOWEL = re.compile(r"\ba (?=[aeiou])")


@dataclass(frozen=True)
class MicroTexts:
    """The texts of one image; description and tags may be empty, the title never is."""

    title: str
    description: str
    tags: tuple[str, ...]


def micro_texts(pixels: Pixels, class_name: str, image_id: str, seed: int = 0) -> MicroTexts:
    """The texts of an RGB image (`uint8`, [height, width, 3]): the same for the same image, id, class and seed.

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
        title=_sentence("title", words.TITLES if title_names else words.TITLES_WITHOUT, name, looks, chance),
        description=_sentence(
            "description",
            words.DESCRIPTIONS if description_names else words.DESCRIPTIONS_WITHOUT,
            name,
            looks,
            chance,
        )
        if in_description
        else "",
        tags=_tags(name, tags_name, looks, chance) if in_tags else (),
    )


def names_class(text: str, class_name: str) -> bool:
    """Whether a text has the class's name or one of its synonyms as a word of its own.

    >>> names_class("Kitty in the garden", "cat"), names_class("a catalogue", "cat")
    (True, False)
    """
    known = "|".join(re.escape(word) for word in (class_name, *words.SYNONYMS.get(class_name, ())))
    return re.search(rf"\b({known})\b", text, re.IGNORECASE) is not None


@dataclass(frozen=True)
class _Chance:
    """Everything left to chance about one image, each decision by its own purpose."""

    seed: int
    image_id: str

    def happens(self, purpose: str, share: float) -> bool:
        return draw(self.seed, f"micro {purpose}", self.image_id) < share * 2**64

    def pick(self, purpose: str, options: Sequence[str]) -> str:
        return options[draw(self.seed, f"micro {purpose}", self.image_id) % len(options)]


def _looks(seen: Attributes, chance: _Chance) -> tuple[str, ...]:
    """A phrase for about half of the attributes that the image has."""
    found = [
        chance.pick(kind, phrases[value])
        for kind, phrases, value in (
            ("light", words.LIGHT, seen.light),
            ("contrast", words.CONTRAST, seen.contrast),
            ("framing", words.FRAMING, seen.framing),
        )
        if value and chance.happens(f"says {kind}", LOOK_SAID)
    ]
    if seen.colour and chance.happens("says colour", LOOK_SAID):
        found.append(chance.pick("colour", words.COLOUR_PHRASES).format(seen.colour))
    return tuple(found)


def _sentence(field: str, patterns: Sequence[str], name: str, looks: tuple[str, ...], chance: _Chance) -> str:
    pattern = chance.pick(f"{field} pattern", patterns)
    filled = pattern.format(
        subject=_subject(field, name, chance),
        look=chance.pick(f"{field} look", looks) if looks else "",
        scene=_scene(field, name, chance),
        place=chance.pick("place", words.PLACES),
        camera=chance.pick("camera", words.CAMERAS),
        season=chance.pick("season", words.SEASONS),
        occasion=chance.pick("occasion", words.OCCASIONS),
    )
    text = " ".join(filled.split()).replace(" ,", ",").replace(" .", "").strip(" ,")
    text = _BEFORE_VOWEL.sub("an ", text)
    return text[:1].upper() + text[1:] if text else chance.pick("place", words.PLACES)


def _subject(field: str, name: str, chance: _Chance) -> str:
    synonyms = words.SYNONYMS.get(name, ())
    if synonyms and chance.happens(f"{field} synonym", SYNONYM):
        return chance.pick(f"{field} which synonym", synonyms)
    return name


def _scene(field: str, name: str, chance: _Chance) -> str:
    fits = name in words.SCENES and chance.happens(f"{field} scene fits", SCENE_FITS)
    return chance.pick(f"{field} scene", words.SCENES[name] if fits else words.ANY_SCENE)


def _tags(name: str, names: bool, looks: tuple[str, ...], chance: _Chance) -> tuple[str, ...]:
    """Up to six tags, each once, in an order of their own."""
    candidates = [look for look in looks if chance.happens(f"tag {look}", 0.5)]
    candidates += [_scene("tags", name, chance)] if chance.happens("tag scene", 0.6) else []
    for kind, options in (
        ("place", words.PLACES),
        ("camera", words.CAMERAS),
        ("season", words.SEASONS),
        ("occasion", words.OCCASIONS),
    ):
        candidates += [chance.pick(kind, options).lower()] if chance.happens(f"tag {kind}", DISTRACTOR) else []
    if names:
        candidates.append(_subject("tags", name, chance))
    ordered = sorted(set(candidates), key=lambda tag: draw(chance.seed, f"micro order {tag}", chance.image_id))
    kept = ordered[:6]
    # The name is never the tag that is cut.
    return tuple(kept if not names or candidates[-1] in kept else [*kept[:-1], candidates[-1]])
