"""The caption template: which fields make a caption, as an object and as one line of text; `EXAMPLES` shows both."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from imagenet_captions.errors import InputError, quoted, require_kind

CLASS_NAME = "class_name"
FIELDS = ("title", "tags", "description", CLASS_NAME)
DEFAULT_FIELDS = ("title", "tags", "description")
OPEN_CLIP_80 = "open_clip-80"
_TEMPLATES = Path(__file__).parent.parent / "data" / "templates.txt"  # data/SOURCES.md says where it comes from


def _setting(default: Any, *examples: tuple[str, str], choices: tuple[str, ...] = ()) -> Any:
    """Declare a field with templates that use it, each with its meaning; the help of commands shows them."""
    return field(default=default, metadata={"examples": examples, "choices": choices})


@dataclass(frozen=True)
class CaptionTemplate:
    """Which fields make a caption, and how; random choices depend only on `seed` and the image's id.

    Fields joined by "|" give one of those that are filled. `template` is a sentence with `{}` for the class's name, or
    "open_clip-80" for one of 80 sentences. `names` chooses the name: open_clip's curated one, or any of WordNet's. A
    row without any text by its photographer has no caption, unless `empty` is "keep". A title that is a camera's file
    name counts as empty, unless `camera_names` is "keep". `max_words` and `max_chars` cut the result. If
    `captions` is "list", every field gives a caption of its own: an export has all of them, training one an epoch.
    """

    fields: tuple[str, ...] = _setting(
        DEFAULT_FIELDS,
        ("title tags description", "Fields, joined in this order: title, tags, description, class_name."),
        ("title|description", "One of the fields, at random where both are filled."),
    )
    separator: str = _setting(" ", ('title tags separator="; "', "The text between the fields."))
    template: str = _setting(
        "{}",
        ('title template="a photo of a {}"', "A sentence with the class's name, before the title."),
        ("title template=open_clip-80", "One of open_clip's 80 sentences, at random."),
    )
    names: str = _setting(
        "curated",
        ("title names=wordnet", "Any of WordNet's names of the class, in place of the curated one."),
        choices=("curated", "wordnet"),
    )
    empty: str = _setting("drop", ("title empty=keep", "Keep rows without any text."), choices=("drop", "keep"))
    camera_names: str = _setting(
        "drop", ("title camera_names=keep", "Keep titles such as IMG_1234."), choices=("drop", "keep")
    )
    max_words: int | None = _setting(None, ("title max_words=20 max_chars=77", "Cut what is longer."))
    max_chars: int | None = None
    seed: int = _setting(0, ("title|tags seed=1", "Choose otherwise; the same seed makes the same captions."))
    captions: str = _setting(
        "one",
        (
            "title tags captions=list",
            "A caption a field: a list in slim and webdataset, one by one, epoch by epoch, in train.",
        ),
        choices=("one", "list"),
    )

    def __post_init__(self) -> None:
        known = f'give some of {", ".join(FIELDS)}, each once, such as `caption` "{" ".join(DEFAULT_FIELDS)}"'
        named = [name for group in self.fields for name in group.split("|")]
        for name in named:
            if name not in FIELDS:
                raise InputError(f"{quoted(name)} is not a caption field; {known}")
        if len({*named}) < max(len(named), 1):
            raise InputError(f"a caption needs at least one field, and none twice; {known}")
        for group in self.fields:
            if "|" in group and CLASS_NAME in group:
                raise InputError(
                    f"{CLASS_NAME} is in every row, so it cannot be an alternative; leave it out of {group}"
                )
        if self.template != OPEN_CLIP_80 and self.template.count("{}") != 1:
            raise InputError(
                f"the caption template {quoted(self.template)} has no place for the class's name, or several; "
                f'give {{}} once, such as "a photo of a {{}}", or {OPEN_CLIP_80}'
            )
        for each in fields(self):
            value, choices = getattr(self, each.name), each.metadata.get("choices")
            if choices and value not in choices:
                raise InputError(f"{each.name} must be one of {', '.join(choices)}, not {quoted(value)}")
        if self.is_list and self.separator != " ":
            raise InputError("separator= joins fields, and with captions=list each is a caption; leave it out")
        for name, limit in (("max_words", self.max_words), ("max_chars", self.max_chars)):
            if limit is not None and limit < 1:
                raise InputError(f"{name} must be at least 1, not {limit}")
        if CLASS_NAME not in self.fields and (self.template != "{}" or self.names != "curated"):
            raise InputError(f"a caption template and names= are for the class's name; add {CLASS_NAME} to the fields")
        if self.camera_names == "keep" and "title" not in self.text_fields:
            raise InputError("camera_names=keep is for the title; add title to the fields")

    @property
    def is_list(self) -> bool:
        """Whether a row has a caption for each field."""
        return self.captions == "list"

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields with the photographer's words."""
        return tuple(name for group in self.fields for name in group.split("|") if name != CLASS_NAME)

    def with_camera_names(self) -> CaptionTemplate:
        """Return the template for published texts, which keeps camera names in titles."""
        return replace(self, camera_names="keep") if "title" in self.text_fields else self

    @classmethod
    def parse(cls, text: str) -> CaptionTemplate:
        """Read a template from text: fields separated by spaces or commas, and settings.

        If template or names is set and class_name is not among the fields, the class's name comes first.

        >>> CaptionTemplate.parse("title, description").fields
        ('title', 'description')
        >>> CaptionTemplate.parse('tags template="a photo of a {}"').fields
        ('class_name', 'tags')
        """
        require_kind("caption", text, str, "a caption template as text")
        lexer = shlex.shlex(text, posix=True)
        lexer.whitespace += ","
        lexer.whitespace_split = True
        lexer.commenters = ""
        lexer.quotes = '"'  # an apostrophe is part of a word
        try:
            words = list(lexer)
        except ValueError:
            raise InputError(f"the caption template {quoted(text)} has an open quote; close it") from None
        chosen: list[str] = []
        given: dict[str, str] = {}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals:
                chosen.append(name)
            elif name in given:
                raise InputError(f"the caption setting {name}= is given twice; give it once")
            elif name not in _SETTINGS:
                raise InputError(f"{quoted(name)} is not a caption setting; the settings are {', '.join(_SETTINGS)}")
            else:
                given[name] = value
        if ("template" in given or "names" in given) and CLASS_NAME not in chosen:
            chosen.insert(0, CLASS_NAME)
        numbers = {name: _number(name, given.pop(name)) for name in _NUMBERS if name in given}
        return cls(tuple(chosen), **given, **numbers)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Return the template as `parse` reads it, without default settings."""
        settings = [
            f"{part.name}={_quoted(str(getattr(self, part.name)))}"
            for part in fields(self)[1:]
            if getattr(self, part.name) != part.default
        ]
        return " ".join([*self.fields, *settings])


_NUMBERS = ("max_words", "max_chars", "seed")
_SETTINGS = tuple(part.name for part in fields(CaptionTemplate)[1:])
EXAMPLES = tuple(example for part in fields(CaptionTemplate) for example in part.metadata.get("examples", ()))


@cache
def open_clip_templates() -> tuple[str, ...]:
    """Return the 80 sentences with which open_clip classifies ImageNet."""
    return tuple(_TEMPLATES.read_text(encoding="utf-8").splitlines())


def _quoted(value: str) -> str:
    if value and not any(letter in value for letter in ' \t\r\n,"\\'):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise InputError(
            f"the caption setting {name}={quoted(value)} is not a whole number; give one such as {name}=20"
        )
    return int(value)
