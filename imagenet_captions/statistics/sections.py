"""Tables of a dataset's statistics, as text, Markdown, CSV and TSV."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from imagenet_captions.flickr.photos import LICENSES
from imagenet_captions.imagenet.published_counts import COUNTED_ROWS, PAPER_ROWS, published_counts, reconcile
from imagenet_captions.outcomes import Outcome, share
from imagenet_captions.statistics.collect import ClassStats, Distribution, Stats

Cell = str | int

_MOST_LANGUAGES = 12
_MOST_CLASSES = 5
_MOST_EMPTY = 3


@dataclass(frozen=True)
class Section:
    """A table with a title; numbers are aligned to the right."""

    key: str  # short and stable: the funnel, the languages …
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    whole: int = 0  # the total of the second column, for bars; 0 if its numbers are not parts of one


def sections(stats: Stats) -> list[Section]:
    """Return all tables of a dataset's statistics, in reading order."""
    made = [
        _funnel(stats.funnel) if stats.funnel else None,
        _coverage(stats),
        _published(stats),
        _images(stats) if stats.on_disk is not None else None,
        _frequencies(stats),
        _languages(stats),
        _lengths("words", "Words in a caption", stats.words),
        _lengths("characters", "Characters in a caption", stats.characters),
        _licenses(stats),
        _tags(stats),
        _duplicates(stats),
        _markup(stats),
    ]
    return [section for section in made if section is not None]


def _counted(counts: Iterable[tuple[str, int]], total: int) -> tuple[tuple[Cell, ...], ...]:
    return tuple((name, count, share(count, total)) for name, count in counts)


def _funnel(funnel: Mapping[Outcome, int]) -> Section:
    total = sum(funnel.values())
    counts = [(outcome.value, count) for outcome, count in funnel.items()]
    return Section(
        "funnel",
        "How the inputs ended",
        ("outcome", "inputs", "share"),
        (*_counted(counts, total), ("input", total, share(total, total))),
        whole=total,
    )


def _published(stats: Stats) -> Section:
    """Compare the rows with the paper's number and a user's count, and list the classes that differ most."""
    found = reconcile({entry.wnid: entry.rows for entry in stats.classes})
    furthest = sorted(found.classes, key=lambda count: (-abs(count.difference), count.wnid))[:_MOST_CLASSES]
    totals = (("the paper's images", PAPER_ROWS), ("entries that a user counted in the public file", COUNTED_ROWS))
    return Section(
        "published",
        "Beside the published captions",
        ("what", "published", "here", "difference"),
        (
            *((name, count, stats.rows, f"{stats.rows - count:+,}") for name, count in totals),
            *(
                (f"{count.class_name} ({count.wnid})", count.published, count.ours, f"{count.difference:+,}")
                for count in furthest
                if count.difference
            ),
        ),
        note="; ".join(found.reasons) + ". All classes are in the CSV.",
    )


def _coverage(stats: Stats) -> Section:
    counts = [*stats.filled.items()]
    notes = []
    if stats.images is not None:
        counts.append(("image", stats.images))
    if stats.names_class is None:
        notes.append("This dataset does not record which rows name their class; package it again to count them.")
    else:
        counts.append(("names its class", stats.names_class))
    return Section(
        "coverage",
        f"What the {stats.rows:,} rows have",
        ("field", "rows", "share"),
        _counted(counts, stats.rows),
        " ".join(notes),
        whole=stats.rows,
    )


def _images(stats: Stats) -> Section:
    on_disk, images = stats.on_disk or 0, stats.images or 0
    classes = sum(1 for entry in stats.classes if entry.on_disk)
    rows: tuple[tuple[Cell, ...], ...] = (
        ("images given", on_disk, ""),
        ("classes among them", classes, ""),
        ("images with a caption", images, share(images, on_disk)),
        ("rows without an image", stats.rows - images, share(stats.rows - images, stats.rows)),
    )
    return Section("images", "Images and captions", ("", "count", "share"), rows)


def _frequencies(stats: Stats) -> Section:
    spread, ordered = stats.per_class, stats.rarest_first
    rows: list[tuple[Cell, ...]] = [
        ("classes with rows", len(ordered), ""),
        ("classes without any", len(stats.classes) - len(ordered), _some_names(stats)),
        *((f"{name} of all classes", round(spread.quantile(at)), "") for name, at in _QUANTILES),
    ]
    rows += [("rarest", entry.rows, _named(entry)) for entry in ordered[:_MOST_CLASSES]]
    rows += [("most frequent", entry.rows, _named(entry)) for entry in reversed(ordered[-_MOST_CLASSES:])]
    return Section("frequencies", "Rows per class", ("", "rows", "class"), tuple(rows))


_QUANTILES = (("p10", 0.1), ("median", 0.5), ("p90", 0.9))


def _some_names(stats: Stats) -> str:
    empty = [_named(entry) for entry in stats.classes if not entry.rows]
    more = f" and {len(empty) - _MOST_EMPTY:,} more" if len(empty) > _MOST_EMPTY else ""
    return ", ".join(empty[:_MOST_EMPTY]) + more


def _named(entry: ClassStats) -> str:
    return f"{entry.name} ({entry.wnid})"


def _languages(stats: Stats) -> Section:
    if set(stats.languages) <= {None}:
        note = "The languages were not detected when this dataset was made." if stats.rows else ""
        return Section("languages", "Languages", ("language", "rows", "share"), (), note)
    counts = [("not detected" if code is None else code, count) for code, count in stats.languages.items()]
    shown, rest = counts[:_MOST_LANGUAGES], counts[_MOST_LANGUAGES:]
    if rest:
        shown.append((f"{len(rest):,} others", sum(count for _, count in rest)))
    note = "und: title and description have fewer than three letters."
    return Section(
        "languages", "Languages", ("language", "rows", "share"), _counted(shown, stats.rows), note, whole=stats.rows
    )


def _lengths(key: str, title: str, lengths: Distribution) -> Section:
    figures = [("mean", lengths.mean), *((name, lengths.quantile(at)) for name, at in _QUANTILES)]
    told = ", ".join(f"{name} {value:,.1f}" for name, value in figures) + f", most {lengths.largest:,}."
    rows = _counted(((each.label, each.count) for each in lengths.bins()), lengths.total)
    return Section(key, title, (key, "rows", "share"), rows, told.capitalize(), whole=lengths.total)


def _licenses(stats: Stats) -> Section:
    names: dict[Any, str] = {entry.id: entry.name for entry in LICENSES}
    counts = [
        ("not known" if number is None else names.get(number, f"Flickr's number {number}"), count)
        for number, count in stats.licenses.items()
    ]
    note = "As Flickr stated them when it was asked." if set(stats.licenses) - {None} else ""
    return Section(
        "licenses", "Licenses", ("license", "rows", "share"), _counted(counts, stats.rows), note, whole=stats.rows
    )


def _tags(stats: Stats) -> Section:
    average = stats.all_tags / stats.rows if stats.rows else 0.0
    rows: tuple[tuple[Cell, ...], ...] = (
        ("tags in all", stats.all_tags),
        ("different tags", stats.unique_tags),
        ("tags a row, on average", f"{average:.2f}"),
    )
    return Section("tags", "Tags", ("", "count"), rows, "Different tags: upper and lower case are the same.")


def _duplicates(stats: Stats) -> Section:
    found = stats.duplicates
    note = (
        f"{found.rows:,} rows ({share(found.rows, stats.rows)}) share their caption with another row; "
        f"captions that occur more than once: {found.texts:,}."
    )
    return Section("duplicates", "Duplicate captions", ("caption", "rows"), found.most, note)


def _markup(stats: Stats) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for field in stats.markup:
        counts = (field.html, field.entities, field.addresses)
        rows.append((field.field, *(f"{count:,} ({share(count, stats.rows)})" for count in counts)))
    columns = ("field", "like HTML tags", "entities", "addresses")
    note = "Rows with something that looks like it; in titles and tags <b> stays as it was typed."
    return Section("markup", "Markup left over", columns, tuple(rows), note)


_MARKDOWN = re.compile(r"([\\`*_\[\]{}<>|#~$&])")
_WIDEST = 100  # of a line of text
_FIGURE = re.compile(r"(?:[0-9.,]+(?: %)?(?: \(.*\))?)?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def as_text(sections: Iterable[Section]) -> str:
    """Return the sections for a terminal, separated by blank lines."""
    return "\n\n".join(_text(section) for section in sections)


def as_markdown(sections: Iterable[Section]) -> str:
    """Return the sections as a Markdown page; texts of photographers are escaped."""
    return "\n".join(["# ImageNet-Captions: statistics", "", *(_markdown(section) for section in sections)])


def per_class_csv(stats: Stats) -> str:
    """Return a CSV with one line per class; unknown counts are empty."""
    names = [field.name for field in fields(ClassStats)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "average_tags", "captioned", "published"])
    for entry in stats.classes:
        average = f"{entry.all_tags / entry.rows:.2f}" if entry.rows else ""
        captioned = f"{(entry.images or 0) / entry.on_disk:.4f}" if entry.on_disk else ""
        published = published_counts()[entry.wnid]
        writer.writerow([*(getattr(entry, name) for name in names), average, captioned, published])
    return out.getvalue()


def counts_tsv(stats: Stats) -> str:
    """Return the rows per class in the format that `filter` reads for `like`: a header, then wnid and count."""
    return "wnid\tcount\n" + "".join(f"{entry.wnid}\t{entry.rows}\n" for entry in stats.classes)


def frequencies_tsv(stats: Stats) -> str:
    """Return the rows per class as name and count, in the order of the labels, without a header."""
    return "".join(f"{entry.name}\t{entry.rows}\n" for entry in stats.classes)


def _text(section: Section) -> str:
    lines = [section.title]
    if section.rows:
        table = [section.columns, *(tuple(map(_shown, row)) for row in section.rows)]
        widths = [max(len(row[at]) for row in table) for at in range(len(section.columns))]
        right = right_columns(section)
        for row in table:
            cells = zip(row, widths, right, strict=True)
            line = "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in cells)
            lines.append(f"  {line}".rstrip())
    if section.note:
        lines.append(textwrap.fill(section.note, _WIDEST, initial_indent="  ", subsequent_indent="  "))
    return "\n".join(lines)


def _markdown(section: Section) -> str:
    lines = [f"## {section.title}", ""]
    if section.rows:
        lines.append("| " + " | ".join(section.columns) + " |")
        lines.append("|" + "|".join("---:" if to_right else "---" for to_right in right_columns(section)) + "|")
        lines += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in section.rows]
        lines.append("")
    if section.note:
        lines += [_escaped(section.note), ""]
    return "\n".join(lines)


def right_columns(section: Section) -> Sequence[bool]:
    """Return a mask of the columns that are aligned to the right: numbers and shares."""
    return [
        at > 0 and all(_FIGURE.fullmatch(str(row[at])) for row in section.rows) for at in range(len(section.columns))
    ]


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else _UNPRINTABLE.sub(" ", cell)


def _escaped(cell: Cell) -> str:
    return _shown(cell) if isinstance(cell, int) else _MARKDOWN.sub(r"\\\1", _shown(cell))
