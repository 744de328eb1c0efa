"""The settings of cleaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.errors import InputError
from imagenet_captions.flickr.denylist import DENY, NOTHING_DENIED, Denylist
from imagenet_captions.imagenet.classes import CLASSES, ClassSet
from imagenet_captions.options import check, option


@dataclass(frozen=True)
class CleanSettings:
    """How records are cleaned: the caption template, whether languages are detected, and the records to leave out.

    Records of other classes than those of `classes` are left out too. With `as_published` nothing is cleaned, and an
    entry without texts keeps its row: the caption is the raw title, tags and description, as in the paper.
    """

    caption: CaptionTemplate = option(
        "What makes the caption: some of title, tags, description and class_name, in order, and settings such as "
        'template="a photo of a {}"; `Captions` below lists them.',
        CaptionTemplate(),
    )
    language: bool = True
    deny: Denylist = option(DENY, NOTHING_DENIED, metavar="PATH")
    classes: ClassSet = option(CLASSES, ClassSet.ILSVRC2012)
    as_published: bool = option(
        "Clean nothing and keep every entry: captions of the raw title, tags and description, as in the paper.", False
    )

    def __post_init__(self) -> None:
        check(self)
        if self.as_published and self.caption != CaptionTemplate():
            raise InputError(
                "`as_published=True` makes the caption of the raw title, tags and description; leave `caption` out"
            )
        if self.caption.is_list:
            raise InputError("a dataset has one caption a row; give captions=list where you export or train")

    @property
    def template(self) -> CaptionTemplate:
        """The caption template; as published, a camera's file name counts as a title."""
        return self.caption.with_camera_names() if self.as_published else self.caption

    def recorded(self) -> dict[str, Any]:
        """Return the settings to record in the captions file."""
        published = {"as_published": True} if self.as_published else {}
        return {"caption": str(self.template), "classes": self.classes.value, **published, **self.deny.settings()}
