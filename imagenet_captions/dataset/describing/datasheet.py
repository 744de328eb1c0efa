"""The datasheet in a dataset card: what survives on Flickr, and what the texts tell."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

from imagenet_captions.dataset.describing.facts import DatasetFacts
from imagenet_captions.flickr.licenses import find_license
from imagenet_captions.outcomes import share

_UNKNOWN_YEARS = "not known: Flickr was not asked about photos, so none is known to be gone"
_UNKNOWN_LICENSES = "not known: the source states no licenses"


def datasheet(facts: DatasetFacts) -> str:
    """Return the section as Markdown; a table says where the dataset's sources lack its numbers."""
    lines = ["## Datasheet", ""]
    if facts.measured and facts.settings.get("filter"):
        lines += ["Survival was counted before this dataset was filtered.", ""]
    return "\n".join([*lines, *_survival(facts), *_licenses(facts), *_texts(facts), *_cleaning(facts)])


def _survival(facts: DatasetFacts) -> list[str]:
    years: Mapping[str, Sequence[int]] = facts.measured.get("survival", {}).get("years", {})
    rows = [(html.escape(year), f"{asked:,}", f"{have:,}", share(have, asked)) for year, (have, asked) in years.items()]
    have, asked = (sum(count[at] for count in years.values()) for at in (0, 1))
    rows.append(("all", f"{asked:,}", f"{have:,}", share(have, asked)) if years else (_UNKNOWN_YEARS, "", "", ""))
    lines = _table(("uploaded", "listed photos that Flickr was asked about", "that answer", "share"), rows)
    if years:
        told = "Flickr numbers photos in order of upload, so a deleted photo counts for the year of nearby numbers."
        lines += [told, ""]
    return ["Survival of the listed photos, by year of upload:", "", *lines]


def _licenses(facts: DatasetFacts) -> list[str]:
    survived: Mapping[str, int] = facts.measured.get("survival", {}).get("licenses", {})
    found = {int(number): count for number, count in survived.items()} or facts.licenses
    what = "listed photos that answer" if survived else "rows"
    total = sum(found.values())
    rows = [(_license(number), f"{count:,}", share(count, total)) for number, count in sorted(found.items())]
    lines = _table(("license", what, "share"), rows or [(_UNKNOWN_LICENSES, "", "")])
    return ["Licenses as the source stated them; a deleted photo has none:", "", *lines]


def _license(number: int) -> str:
    known = find_license(number)
    return f"{number}" if known is None else f"{number} {known.name}"


def _texts(facts: DatasetFacts) -> list[str]:
    names_class, repeated = facts.filled.get("names_class", 0), facts.repeated
    rows = [
        ("name their own class", f"{names_class:,}", share(names_class, facts.rows)),
        ("have a caption that another row has too", f"{repeated:,}", share(repeated, facts.rows)),
    ]
    return _table(("rows that", "rows", "share"), rows)


def _cleaning(facts: DatasetFacts) -> list[str]:
    if facts.settings.get("as_published"):
        return ["The texts are those of the source: no cleaning rule was applied.", ""]
    return ["The texts were cleaned by fixed rules; the config `raw` holds them as the source gave them.", ""]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(head) - 1)
    return [f"| {' | '.join(head)} |", rule, *(f"| {' | '.join(row)} |" for row in rows), ""]
