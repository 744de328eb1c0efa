"""The result of `measure_frequency` as CSV and as a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from imagenet_captions.evaluation.frequency.measure import FREQUENCIES, FrequencyReport, Relation


def frequency_csv(report: FrequencyReport) -> str:
    """Return a row for each class of each test set; accuracies are in percent."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["test_set", "class", "name", "n", "accuracy", "training_images", "training_mentions"])
    for row in report.rows:
        accuracy = f"{row.accuracy:.4f}"
        writer.writerow([row.test_set, row.key, row.name, row.n, accuracy, row.images, row.mentions])
    return text.getvalue()


def format_frequency(report: FrequencyReport) -> str:
    """Return the table for the terminal: a row for each test set and frequency."""
    head = ["test set", "against", "classes", "never", "Spearman", "points per tenfold"]
    rows = [head, *map(_cells, report.relations)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_line(row, widths) for row in rows]
    if any(found.spearman is None or found.slope is None for found in report.relations):
        lines.append("-: no value, since these classes all have the same frequency, or the same accuracy")
    return "\n".join(lines)


def _cells(found: Relation) -> list[str]:
    values = [
        "-" if value is None else f"{value:+.{digits}f}" for value, digits in ((found.spearman, 3), (found.slope, 2))
    ]
    return [found.test_set, FREQUENCIES[found.frequency], f"{found.classes:,}", f"{found.absent:,}", *values]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    def cells() -> Iterator[str]:
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            yield cell.ljust(width) if place < 2 else cell.rjust(width)

    return "  ".join(cells()).rstrip()
