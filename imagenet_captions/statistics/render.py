"""Sections as text and Markdown; classes as CSV and as the tables of counts that people keep."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import fields

from imagenet_captions.imagenet.published_counts import published_counts
from imagenet_captions.statistics.result import ClassStats, Stats
from imagenet_captions.statistics.sections import Cell, Section

_MARKDOWN = re.compile(r"([\\`*_\[\]{}<>|#~$&])")
_WIDEST = 100  # of a line of text
_FIGURE = re.compile(r"(?:[0-9.,]+(?: %)?(?: \(.*\))?)?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def as_text(sections: Iterable[Section]) -> str:
    """The sections for a terminal, a blank line between them."""
    return "\n\n".join(_text(section) for section in sections)


def as_markdown(sections: Iterable[Section]) -> str:
    """The sections as a Markdown page; what photographers wrote can make no markup of its own."""
    return "\n".join(["# ImageNet-Captions: statistics", "", *(_markdown(section) for section in sections)])


def per_class_csv(stats: Stats) -> str:
    """A line for each class, with a header; a count that is not known is empty."""
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
    """Rows per class as `filter` reads it for `like`: a header, then wnid and count."""
    return "wnid\tcount\n" + "".join(f"{entry.wnid}\t{entry.rows}\n" for entry in stats.classes)


def frequencies_tsv(stats: Stats) -> str:
    """Rows per class as users keep it: name and count in the order of the labels, without a header."""
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
    """Which columns stand to the right: those of numbers and shares."""
    return [
        at > 0 and all(_FIGURE.fullmatch(str(row[at])) for row in section.rows) for at in range(len(section.columns))
    ]


def _shown(cell: Cell) -> str:
    return f"{cell:,}" if isinstance(cell, int) else _UNPRINTABLE.sub(" ", cell)


def _escaped(cell: Cell) -> str:
    return _shown(cell) if isinstance(cell, int) else _MARKDOWN.sub(r"\\\1", _shown(cell))
