"""Rendering statistics: sections as text and Markdown, and classes as CSV and tables of counts."""

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
