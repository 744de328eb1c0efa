"""The spellings of class names in texts: names, plurals, and the words that ambiguous names need. Used by `mentions`.

A class's names are open_clip's curated name and WordNet's lemmas. Many of them usually mean something else ("spot" is a
lemma of the spotlight), so `data/ambiguous_names.tsv` defines when a name of a class counts:

    never     it never names the class by itself
    needs     only if one of these words is in the text
    unless    not if one of these words is in the text
    inside    not as part of one of these phrases, whatever class is meant (wnid "*")
    also      not a rule: more spellings of the name, such as irregular plurals
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.classes import ClassSet, read_table

_REMARK = re.compile(r"\s*\(.*?\)")  # "kite (bird of prey)"
_ALREADY_PLURAL = re.compile(r"(?:[^suio']s)$")


@dataclass(frozen=True)
class Rule:
    """The condition under which a name counts; without words it always counts."""

    never: bool = False
    needs: frozenset[str] = frozenset()
    unless: frozenset[str] = frozenset()


@dataclass
class Vocabulary:
    """All spellings to look for in texts, including plurals.

    `readings` maps a spelling to the classes that it names, each with its rule; `decoys` are phrases that contain a
    name but name no class.
    """

    readings: dict[str, dict[int, Rule]] = field(default_factory=dict)
    decoys: set[str] = field(default_factory=set)


@cache
def vocabulary(curated_only: bool = False, among: ClassSet = ClassSet.ILSVRC2012) -> Vocabulary:
    """Return all spellings of a set's class names, or only of their first names (open_clip's curated ones).

    The rules were written for the 1000 classes; all names of other classes count without conditions.

    >>> sorted(vocabulary().readings["cranes"])
    [134, 517]
    >>> "Tinca tinca" in vocabulary().readings, "Tinca tinca" in vocabulary(curated_only=True).readings
    (True, False)
    """
    rules: dict[tuple[str, str], Rule] = {}
    also: dict[tuple[str, str], tuple[str, ...]] = {}
    decoys: set[str] = set()
    for name, wnid, kind, words, _ in rows():
        key = (name.casefold(), wnid)
        rule = rules.get(key, Rule())
        if kind == "inside":
            decoys.update(words)
        elif kind == "also":
            also[key] = words
        elif kind == "never":
            rules[key] = Rule(never=True)
        elif kind == "needs":
            rules[key] = replace(rule, needs=frozenset(words))
        else:
            rules[key] = replace(rule, unless=frozenset(words))
    exact: dict[str, dict[int, Rule]] = {}
    derived: dict[str, dict[int, Rule]] = {}
    for wnid in classes.wnids(among):
        class_ = classes.by_wnid(wnid, among)
        # The curated name "baluster / handrail" is two, and a remark in brackets is dropped.
        curated = [_REMARK.sub("", part).strip() for part in class_.name.split(" / ")]
        for name in dict.fromkeys(curated if curated_only else [*curated, *class_.lemmas]):
            key = (name.casefold(), wnid)
            rule = rules.get(key, Rule())
            if rule.never:
                continue
            for spelling in (name, *also.get(key, ())):
                exact.setdefault(spelling, {})[class_.index] = rule
                for form in plurals(spelling):
                    derived.setdefault(form, {}).setdefault(class_.index, rule)
    # "bars" is a name itself, so it does not count as the plural of "bar", of whatever class.
    taken = {spelling.casefold() for spelling in exact}
    readings = {form: found for form, found in derived.items() if form.casefold() not in taken}
    return Vocabulary({**readings, **exact}, {form for decoy in decoys for form in (decoy, *plurals(decoy))})


def plurals(name: str) -> tuple[str, ...]:
    """Return the simple plurals of a name's last word, or the singular of a plural in -ies.

    >>> plurals("fox"), plurals("daisy"), plurals("blueberries"), plurals("tights")
    (('foxes',), ('daisies',), ('blueberry',), ())
    """
    lower = name.lower()
    if not lower[-1:].isalpha():
        return ()
    if lower.endswith("ies") and len(lower) > 4:
        return (name[:-3] + "y",)
    if lower.endswith("y") and lower[-2:-1] not in ("", *"aeiou "):
        return (name[:-1] + "ies",)
    if lower.endswith(("s", "x", "z", "ch", "sh")):
        return () if _ALREADY_PLURAL.search(lower) else (name + "es",)
    return (name + "s", name + "es") if lower.endswith("o") else (name + "s",)


def rows() -> Iterator[tuple[str, str, str, tuple[str, ...], str]]:
    """Yield the rows of the table of ambiguous names: name, wnid, rule, words, reason."""
    for name, wnid, rule, words, reason in read_table("ambiguous_names.tsv")[1:]:
        listed = tuple(word.strip() for word in words.split(",") if word.strip())
        yield name, wnid, rule, listed, reason
