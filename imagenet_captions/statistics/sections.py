"""Tables of a dataset's statistics, as text, Markdown, CSV and TSV."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from imagenet_captions.flickr.photos import find_license
from imagenet_captions.imagenet.published_counts import COUNTED_ROWS, PAPER_ROWS, published_counts, reconcile
from imagenet_captions.outcomes import share
from imagenet_captions.statistics.collect import ClassStats, Distribution, Stats

Cell = str | int

_MOST_LANGUAGES = 12
_MOST_CLASSES = 5
_MOST_EMPTY = 3
_QUANTILES = (("p10", 0.1), ("median", 0.5), ("p90", 0.9))
_MARKDOWN = re.compile(r"([\\`*_\[\]{}<>|#~$&])")
_WIDEST = 100  # of a line of text
_FIGURE = re.compile(r"(?:[0-9.,]+(?: %)?(?: \(.*\))?)?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Section:
    """A table with a title; numbers are aligned to the right."""

    key: str  # short and stable: the funnel, the languages …
    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    note: str = ""
    whole: int = 0  # the total of the second column, for bars; 0 if its numbers are not parts of one

    @property
    def right(self) -> Sequence[bool]:
        """Return a mask of the columns that are aligned to the right: numbers and shares."""
        at_right = [all(_FIGURE.fullmatch(str(row[at])) for row in self.rows) for at in range(len(self.columns))]
        return [False, *at_right[1:]]


def sections(stats: Stats) -> list[Section]:
    """Return all tables of a dataset's statistics, in reading order."""
    average_tags = stats.all_tags / stats.rows if stats.rows else 0.0
    tags = (
        ("tags in all", stats.all_tags),
        ("different tags", stats.unique_tags),
        ("tags a row, on average", f"{average_tags:.2f}"),
    )
    shared = stats.duplicates
    duplicates = (
        f"{shared.rows:,} rows ({share(shared.rows, stats.rows)}) share their caption with another row; "
        f"captions that occur more than once: {shared.texts:,}."
    )
    return [
        *_funnel(stats),
        _coverage(stats),
        _published(stats),
        *_images(stats),
        _frequencies(stats),
        _languages(stats),
        _lengths("words", "Words in a caption", stats.words),
        _lengths("characters", "Characters in a caption", stats.characters),
        _licenses(stats),
        Section("tags", "Tags", ("", "count"), tags, "Different tags: upper and lower case are the same."),
        Section("duplicates", "Duplicate captions", ("caption", "rows"), shared.most, duplicates),
        _markup(stats),
    ]


def _shares(
    key: str, title: str, columns: tuple[str, str], counts: Iterable[tuple[str, int]], whole: int, note: str = ""
) -> Section:
    rows = [(name, count, share(count, whole)) for name, count in counts]
    return Section(key, title, (*columns, "share"), rows, note, whole)


def _funnel(stats: Stats) -> list[Section]:
    if not stats.funnel:
        return []
    total = sum(stats.funnel.values())
    counts = [*((outcome.value, count) for outcome, count in stats.funnel.items()), ("input", total)]
    return [_shares("funnel", "How the inputs ended", ("outcome", "inputs"), counts, total)]


def _coverage(stats: Stats) -> Section:
    counts = [*stats.filled.items(), ("names its class", stats.names_class)]
    if stats.images is not None:
        counts.insert(-1, ("image", stats.images))
    return _shares("coverage", f"What the {stats.rows:,} rows have", ("field", "rows"), counts, stats.rows)


def _published(stats: Stats) -> Section:
    """Compare the rows with the paper's number and a user's count, and list the classes that differ most."""
    classes, reasons = reconcile({entry.wnid: entry.rows for entry in stats.classes})
    furthest = sorted(classes, key=lambda count: (-abs(count.difference), count.wnid))[:_MOST_CLASSES]
    counts = [
        ("the paper's images", PAPER_ROWS, stats.rows),
        ("entries that a user counted in the public file", COUNTED_ROWS, stats.rows),
        *((f"{each.class_name} ({each.wnid})", each.published, each.ours) for each in furthest if each.difference),
    ]
    return Section(
        "published",
        "Beside the published captions",
        ("what", "published", "here", "difference"),
        [(name, published, here, f"{here - published:+,}") for name, published, here in counts],
        note="; ".join(reasons) + ". All classes are in the CSV.",
    )


def _images(stats: Stats) -> list[Section]:
    if stats.on_disk is None:
        return []
    images = stats.images or 0
    without = stats.rows - images
    rows: list[tuple[Cell, ...]] = [
        ("images given", stats.on_disk, ""),
        ("classes among them", sum(1 for entry in stats.classes if entry.on_disk), ""),
        ("images with a caption", images, share(images, stats.on_disk)),
        ("rows without an image", without, share(without, stats.rows)),
    ]
    return [Section("images", "Images and captions", ("", "count", "share"), rows)]


def _frequencies(stats: Stats) -> Section:
    spread, ordered = stats.per_class, stats.rarest_first
    empty = [_named(entry) for entry in stats.classes if not entry.rows]
    more = f" and {len(empty) - _MOST_EMPTY:,} more" if len(empty) > _MOST_EMPTY else ""
    rows: list[tuple[Cell, ...]] = [
        ("classes with rows", len(ordered), ""),
        ("classes without any", len(empty), ", ".join(empty[:_MOST_EMPTY]) + more),
        *((f"{name} of all classes", round(spread.quantile(at)), "") for name, at in _QUANTILES),
        *(("rarest", entry.rows, _named(entry)) for entry in ordered[:_MOST_CLASSES]),
        *(("most frequent", entry.rows, _named(entry)) for entry in reversed(ordered[-_MOST_CLASSES:])),
    ]
    return Section("frequencies", "Rows per class", ("", "rows", "class"), rows)


def _named(entry: ClassStats) -> str:
    return f"{entry.name} ({entry.wnid})"


def _languages(stats: Stats) -> Section:
    counts = [("not detected" if code is None else code, count) for code, count in stats.languages.items()]
    note = "und: title and description have fewer than three letters."
    if set(stats.languages) <= {None}:
        counts = []
        note = "The languages were not detected when this dataset was made." if stats.rows else ""
    if rest := counts[_MOST_LANGUAGES:]:
        counts[_MOST_LANGUAGES:] = [(f"{len(rest):,} others", sum(count for _, count in rest))]
    return _shares("languages", "Languages", ("language", "rows"), counts, stats.rows, note)


def _lengths(key: str, title: str, lengths: Distribution) -> Section:
    figures = [("mean", lengths.mean), *((name, lengths.quantile(at)) for name, at in _QUANTILES)]
    note = ", ".join(f"{name} {value:,.1f}" for name, value in figures) + f", most {lengths.largest:,}."
    counts = [(each.label, each.count) for each in lengths.bins()]
    return _shares(key, title, (key, "rows"), counts, lengths.total, note.capitalize())


def _licenses(stats: Stats) -> Section:
    counts = []
    for number, count in stats.licenses.items():
        known = find_license(number)
        unknown = "not known" if number is None else f"Flickr's number {number}"
        counts.append((known.name if known else unknown, count))
    note = "As Flickr stated them when it was asked." if set(stats.licenses) - {None} else ""
    return _shares("licenses", "Licenses", ("license", "rows"), counts, stats.rows, note)


def _markup(stats: Stats) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for field in stats.markup:
        counts = (field.html, field.entities, field.addresses)
        rows.append((field.field, *(f"{count:,} ({share(count, stats.rows)})" for count in counts)))
    columns = ("field", "like HTML tags", "entities", "addresses")
    note = "Rows with something that looks like it; in titles and tags <b> stays as it was typed."
    return Section("markup", "Markup left over", columns, rows, note)


def as_text(sections: Iterable[Section]) -> str:
    """Return the sections for a terminal, separated by blank lines."""
    return "\n\n".join(map(_text, sections))


def _text(section: Section) -> str:
    lines = [section.title]
    if section.rows:
        table = [section.columns, *(tuple(map(_shown, row)) for row in section.rows)]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = zip(row, widths, section.right, strict=True)
            line = "  ".join(cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in cells)
            lines.append(f"  {line}".rstrip())
    if section.note:
        lines.append(textwrap.fill(section.note, _WIDEST, initial_indent="  ", subsequent_indent="  "))
    return "\n".join(lines)


def as_markdown(sections: Iterable[Section]) -> str:
    """Return the sections as a Markdown page; texts of photographers are escaped."""
    lines = ["# ImageNet-Captions: statistics", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        if section.rows:
            lines.append("| " + " | ".join(section.columns) + " |")
            lines.append("|" + "|".join("---:" if to_right else "---" for to_right in section.right) + "|")
            lines += ["| " + " | ".join(map(_escaped, row)) + " |" for row in section.rows]
            lines.append("")
        if section.note:
            lines += [_escaped(section.note), ""]
    return "\n".join(lines)


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else _UNPRINTABLE.sub(" ", cell)


def _escaped(cell: Cell) -> str:
    return _MARKDOWN.sub(r"\\\1", _shown(cell))


def per_class_csv(stats: Stats) -> str:
    """Return a CSV with one line per class; unknown counts are empty."""
    names = [field.name for field in fields(ClassStats)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*names, "average_tags", "captioned", "published"])
    for entry in stats.classes:
        average = f"{entry.all_tags / entry.rows:.2f}" if entry.rows else ""
        captioned = f"{(entry.images or 0) / entry.on_disk:.4f}" if entry.on_disk else ""
        published = published_counts().get(entry.wnid, "")
        writer.writerow([*(getattr(entry, name) for name in names), average, captioned, published])
    return out.getvalue()


def counts_tsv(stats: Stats) -> str:
    """Return the rows per class in the format that `filter` reads for `like`: a header, then wnid and count."""
    return "wnid\tcount\n" + "".join(f"{entry.wnid}\t{entry.rows}\n" for entry in stats.classes)


def frequencies_tsv(stats: Stats) -> str:
    """Return the rows per class as name and count, in the order of the labels, without a header."""
    return "".join(f"{entry.name}\t{entry.rows}\n" for entry in stats.classes)
