"""Find what each cleaning rule changes in a record. Used by `explain`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from imagenet_captions.captions.camera_names import is_camera_name
from imagenet_captions.cleaner import text as rules
from imagenet_captions.cleaner.columns import MACHINE_TAG
from imagenet_captions.cleaner.encoding import repair_encoding
from imagenet_captions.cleaner.links import unwrap_links
from imagenet_captions.cleaner.markup import decode_entities, strip_markup

MACHINE_TAGS, EMPTY_TAGS, REPEATED_TAGS = "machine tags", "empty tags", "repeated tags"
CAMERA_NAMES = "camera file names"

# The rules of one text, in their order.
_NAMES: dict[rules.Rule, str] = {
    rules.join_surrogates: "surrogates",
    decode_entities: "entities",
    strip_markup: "markup",
    unwrap_links: "links",
    repair_encoding: "encoding",
    rules.drop_controls: "controls",
    rules.compose: "NFC",
    rules.drop_addresses: "addresses",
    rules.fold_space: "white space",
    rules.blank_escapes: "deep escapes",
}

_MACHINE_TAG = re.compile(MACHINE_TAG)
_CONTEXT, _LONGEST = 24, 120  # characters of a text that are shown


class Change(NamedTuple):
    """What one rule did to a text; `after` is None for a tag that is removed, or a title that no caption has."""

    rule: str
    field: str  # title, description or tags
    before: str
    after: str | None

    def __str__(self) -> str:
        r"""Return the change on one line, long texts cut to the part that differs.

        >>> str(Change("white space", "title", "two  words", "two words"))
        "title: 'two  words' → 'two words'"
        """
        if self.after is None:
            return f"{self.field}: {_cut(self.before)!r} left out"
        before, after = _difference(self.before, self.after)
        return f"{self.field}: {before!r} → {after!r}"

    def as_dict(self) -> dict[str, Any]:
        """Return the change for JSON, with whole texts."""
        return dict(self._asdict())


def record_changes(title: str, description: str, tags: Iterable[str | None]) -> list[Change]:
    """Return what the rules change in a record, in the order in which they run.

    >>> [(change.rule, change.after) for change in record_changes("IMG_1234", "", ["Dog", "dog"])]
    [('camera file names', None), ('repeated tags', None)]
    """
    changes = _text_changes("title", title)
    cleaned = changes[-1].after if changes else title
    if cleaned and is_camera_name(cleaned):
        changes.append(Change(CAMERA_NAMES, "title", cleaned, None))
    return [*changes, *_text_changes("description", description), *_tags_changes(tags)]


def _tags_changes(tags: Iterable[str | None]) -> list[Change]:
    changes: list[Change] = []
    seen: set[str] = set()
    for tag in (each or "" for each in tags):
        made = _tag_changes(tag)
        changes += made
        cleaned = (made[-1].after or "") if made else tag
        if not cleaned:
            changes.append(Change(EMPTY_TAGS, "tags", tag, None))
        elif _MACHINE_TAG.search(cleaned):
            changes.append(Change(MACHINE_TAGS, "tags", cleaned, None))
        elif (folded := cleaned.casefold()) in seen:
            changes.append(Change(REPEATED_TAGS, "tags", cleaned, None))
        else:
            seen.add(folded)
    return changes


@lru_cache(maxsize=100_000)
def _tag_changes(tag: str) -> tuple[Change, ...]:
    return tuple(_text_changes("tags", tag))


def _text_changes(field: str, text: str) -> list[Change]:
    """Clean a text with rules that note what they change."""
    changes: list[Change] = []

    def noting(rule: rules.Rule) -> rules.Rule:
        def run(before: str) -> str:
            after = rule(before)
            if after != before:
                changes.append(Change(_NAMES[rule], field, before, after))
            return after

        return run

    chosen = rules.HTML if field == "description" else rules.TYPED
    noted = rules.Rules(
        noting(chosen.first), tuple(map(noting, chosen.markup)), tuple(map(noting, chosen.tail)), noting(chosen.last)
    )
    rules.settle(text, noted)
    return changes


def _difference(before: str, after: str) -> tuple[str, str]:
    """Return both texts, or their parts around what differs if they are long."""
    if max(len(before), len(after)) <= _LONGEST:
        return before, after
    shorter = min(len(before), len(after))
    start = next((at for at in range(shorter) if before[at] != after[at]), shorter)
    end = next((at for at in range(shorter - start) if before[-1 - at] != after[-1 - at]), shorter - start)
    return _part(before, start, len(before) - end), _part(after, start, len(after) - end)


def _part(text: str, start: int, end: int) -> str:
    start, end = max(start - _CONTEXT, 0), min(end + _CONTEXT, len(text))
    return ("…" if start else "") + _cut(text[start:end]) + ("…" if end < len(text) else "")


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
