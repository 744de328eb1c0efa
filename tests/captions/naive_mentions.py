"""What a text names, told with plain loops over its words; slow, and independent of how mentions.py searches."""

from __future__ import annotations

import unicodedata
from functools import cache

from imagenet_captions.imagenet.spellings import Rule, plurals, vocabulary

UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "HANGUL", "THAI", "LAO", "MYANMAR", "KHMER")
HYPHENS, APOSTROPHES = "-\u2010\u2011", "'\u2018\u2019\u201b\u2032"

Words = tuple[str, ...]


def is_word(character: str) -> bool:
    if unicodedata.name(character, "").startswith(UNSPACED):
        return False
    return character.isalnum() or unicodedata.category(character).startswith("M")


def words_of(text: str, case_sensitive: bool) -> Words:
    """The words and marks of a text; blanks, and hyphens within words, are none."""
    seen = [
        c for c in (text if case_sensitive else text.casefold()) if unicodedata.category(c) != "Cf" or c == "\u200b"
    ]
    found: list[str] = []
    within = False
    for at, character in enumerate(seen):
        before, after = "".join(seen[at - 1 : at]), "".join(seen[at + 1 : at + 2])
        if is_word(character):
            found[-1:] = [found[-1] + character] if within else [*found[-1:], character]
            within = True
            continue
        within = False
        joining = character in HYPHENS and before and after and is_word(before) and is_word(after)
        if character in APOSTROPHES:
            found.append("'")
        elif not ((character.isspace() and character not in "\x1c\x1d\x1e\x1f") or character in "_\u200b" or joining):
            found.append("|")
    return tuple(found)


@cache
def spellings(case_sensitive: bool, curated_only: bool) -> tuple[dict[Words, dict[int, Rule]], set[Words]]:
    known = vocabulary(curated_only)
    readings: dict[Words, dict[int, Rule]] = {}
    for spelling, found in known.readings.items():
        for words in forms(spelling, case_sensitive):
            readings.setdefault(words, {}).update(found)
    return readings, {words for decoy in known.decoys for words in forms(decoy, case_sensitive)}


def forms(spelling: str, case_sensitive: bool) -> set[Words]:
    found = {words_of(spelling, case_sensitive), words_of(spelling.replace("'", ""), case_sensitive)}
    return {words[:-1] if words[-1] == "|" else words for words in found}


@cache
def cue_forms(cues: frozenset[str], case_sensitive: bool) -> set[Words]:
    return {words for cue in cues for form in (cue, *plurals(cue)) for words in forms(form, case_sensitive)}


def holds(rule: Rule, runs: set[Words], case_sensitive: bool) -> bool:
    if rule.needs and not runs & cue_forms(rule.needs, case_sensitive):
        return False
    return not (rule.unless and runs & cue_forms(rule.unless, case_sensitive))


def naive_labels(text: str, case_sensitive: bool = False, curated_only: bool = False) -> list[int]:
    """The labels that a text names, ascending."""
    readings, decoys = spellings(case_sensitive, curated_only)
    words = words_of(text, case_sensitive)
    runs, matches = set(), []
    for start in range(len(words)):
        for end in range(start + 1, min(start + 7, len(words)) + 1):
            run = words[start:end]
            runs.add(run)
            if run in readings or run in decoys:
                matches.append((start, end, run))
    outermost = [
        run
        for start, end, run in matches
        if not any(s <= start and end <= e and (s, e) != (start, end) for s, e, _ in matches)
    ]
    return sorted(
        {
            label
            for run in outermost
            for label, rule in readings.get(run, {}).items()
            if holds(rule, runs, case_sensitive)
        }
    )
