"""The life of one image id, as `explain` returns it: for Python, as JSON, and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from imagenet_captions.cleaner.text import Change
from imagenet_captions.errors import printable, shortened
from imagenet_captions.outcomes import Outcome


@dataclass(frozen=True)
class Texts:
    """The texts of a record."""

    title: str
    description: str
    tags: list[str]


@dataclass(frozen=True)
class Mention:
    """A class that the texts name, and the words that name it, in the form in which they are searched."""

    label: int
    wnid: str
    class_name: str
    words: list[str]


@dataclass(frozen=True)
class ImageFacts:
    """The image of a row."""

    width: int | None
    height: int | None
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Photo:
    """The photo behind an image, and how to attribute it."""

    photo_id: str | None = None
    photo_page: str | None = None
    owner: str | None = None
    owner_name: str | None = None
    license: str | None = None
    license_url: str | None = None
    attribution: str | None = None
    retrieved_at: datetime | None = None


@dataclass(frozen=True)
class Listed:
    """What the work folder of a build has: the line of the URL list, and what became of the photo."""

    line: str | None = None  # id and address
    other_addresses: str | None = None
    photo_id: str | None = None
    answer: str | None = None  # the state of the crawl's answer
    answered_at: datetime | None = None
    remark: str | None = None
    in_yfcc: bool | None = None


@dataclass(frozen=True)
class Explanation:
    """The life of one id; a part that is not known is None or empty, and `unknown` says why."""

    image_id: str
    wnid: str
    class_name: str
    outcome: Outcome
    detail: str | None
    further_entries: list[str]  # how further entries with this id ended
    label: int | None = None
    raw: Texts | None = None
    changes: list[Change] = field(default_factory=list)
    cleaned: Texts | None = None
    caption: str | None = None
    mentions: list[Mention] = field(default_factory=list)
    names_class: bool | None = None
    language: str | None = None
    language_score: float | None = None
    source: str | None = None
    image: ImageFacts | None = None
    photo: Photo | None = None
    listed: Listed | None = None
    unknown: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return everything for JSON."""
        found = asdict(self, dict_factory=_with_texts_for_dates)
        changes = [change.as_dict() for change in self.changes]
        return {**found, "outcome": self.outcome.value, "meaning": self.outcome.meaning, "changes": changes}

    def __str__(self) -> str:
        """Return the life of the id as text, a line for each thing that is known."""
        lines = [f"{name:<16}{text}" for name, text in self._facts()]
        unknown = [f"not known: {sentence}" for sentence in self.unknown]
        return printable("\n".join([f"{self.image_id}  {self.class_name}", *lines, *unknown]))

    def _facts(self) -> Iterator[tuple[str, str]]:
        detail = f" ({shortened(self.detail, 300)})" if self.detail else ""
        yield "outcome", f"{self.outcome.value}: {self.outcome.meaning}{detail}"
        yield from (("", f"another entry: {entry}") for entry in self.further_entries)
        if self.label is not None:
            yield "label", str(self.label)
        if self.listed is not None:
            yield from _of_list(self.listed)
        if self.source is not None:
            yield "source", self.source
        yield from _of_texts("raw", self.raw)
        yield from (("cleaning" if not at else "", f"{one.rule}: {one}") for at, one in enumerate(self.changes))
        if self.changes:
            yield from _of_texts("clean", self.cleaned)
        yield from self._of_row()
        if self.image is not None:
            size = f"{self.image.width} x {self.image.height} pixels, " if self.image.width else ""
            yield "image", f"{size}{self.image.bytes:,} bytes, SHA-256 {self.image.sha256}"
        if self.photo is not None:
            yield from _of_photo(self.photo)

    def _of_row(self) -> Iterator[tuple[str, str]]:
        if self.caption is None:
            return
        yield "caption", repr(self.caption)
        if not self.mentions:
            yield "mentions", "no class"
        for at, mention in enumerate(self.mentions):
            own = ", its own class" if mention.label == self.label else ""
            words = ", ".join(map(repr, mention.words))
            yield "" if at else "mentions", f"{mention.class_name} ({mention.label}{own}), by {words}"
        if self.language is not None:
            score = "" if self.language_score is None else f", score {self.language_score:.2f}"
            yield "language", f"{self.language}{score}"


def _of_texts(kind: str, texts: Texts | None) -> Iterator[tuple[str, str]]:
    if texts is not None:
        yield f"{kind} title", repr(texts.title)
        yield f"{kind} text", repr(texts.description)
        yield f"{kind} tags", ", ".join(map(repr, texts.tags)) or "none"


def _of_list(listed: Listed) -> Iterator[tuple[str, str]]:
    if listed.line is not None:
        yield "URL list", shortened(listed.line, 300)
    if listed.other_addresses:
        yield "", f"other addresses: {shortened(listed.other_addresses, 300)}"
    if listed.photo_id is not None:
        yield "photo", listed.photo_id
    if listed.answer is not None:
        when = f", {listed.answered_at:%Y-%m-%d}" if listed.answered_at else ""
        yield "answer", f"{listed.answer}{when}{f' ({shortened(listed.remark)})' if listed.remark else ''}"
    if listed.in_yfcc is not None:
        yield "YFCC100M", "has the photo" if listed.in_yfcc else "does not have the photo"


def _of_photo(photo: Photo) -> Iterator[tuple[str, str]]:
    if photo.photo_page is not None:
        yield "photo page", photo.photo_page
    if photo.license is not None:
        yield "license", f"{photo.license}{f', {photo.license_url}' if photo.license_url else ''}"
    if photo.attribution is not None:
        yield "attribution", photo.attribution
    if photo.retrieved_at is not None:
        yield "retrieved", f"{photo.retrieved_at:%Y-%m-%d}"


def _with_texts_for_dates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in pairs}
