"""Write comparisons as CSV and as a table for the terminal."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imagenet_captions.errors import shortened
from imagenet_captions.evaluation.comparison.compare import ClassChange, Comparison
from imagenet_captions.imagenet import classes

_COLUMNS = (
    "first", "model", "test_set", "class", "class_name", "images", "first_top1", "model_top1", "difference",
    "difference_low", "difference_high", "only_first", "only_model", "p_value", "p_from", "detectable",
    "protocols_differ_in",
)  # fmt: skip
_HEADER = (
    "model", "test set", "images", "first's top-1", "top-1", "difference (95 %)", "p", "only first", "only model",
    "detectable",
)  # fmt: skip
_LEGEND = "p: McNemar's test (=: exact); detectable: the smallest difference found with 80 % power at 5 %"
_CLASSES_SHOWN = 3
_SMALLEST_P = 1e-4


def write_comparisons(path: Path, found: Sequence[Comparison]) -> None:
    """Write a row for each model and test set, and below it one for each class, those that moved most first."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.DictWriter(opened, _COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for each in found:
            start = {"first": each.first, "model": each.second, "test_set": each.test_set}
            writer.writerow({**start, **_row(each)})
            writer.writerows({**start, **_class_row(moved)} for moved in each.classes)


def _row(found: Comparison) -> dict[str, Any]:
    low, high = found.interval
    return {
        "images": found.pairs.images,
        **_accuracies(found.first_top1, found.second_top1),
        "difference_low": f"{low:.4f}",
        "difference_high": f"{high:.4f}",
        "only_first": found.pairs.only_first,
        "only_model": found.pairs.only_second,
        "p_value": f"{found.p_value:.4g}",
        "p_from": "exact" if found.exact else "chi-squared",
        "detectable": f"{found.detectable:.4f}",
        "protocols_differ_in": ", ".join(found.protocol),
    }


def _class_row(moved: ClassChange) -> dict[str, Any]:
    accuracies = (100 * count / moved.images for count in (moved.first, moved.second))
    return {"class": moved.key, "class_name": _name(moved.key), "images": moved.images, **_accuracies(*accuracies)}


def _accuracies(first: float, second: float) -> dict[str, str]:
    return {"first_top1": f"{first:.4f}", "model_top1": f"{second:.4f}", "difference": f"{second - first:.4f}"}


def format_comparisons(found: Sequence[Comparison]) -> str:
    """Return the tables for the terminal: the differences, then the classes that moved most."""
    apart = any(each.protocol for each in found)
    rows = [[*_HEADER, *(["protocols differ in"] if apart else [])]]
    rows += [[*_cells(each), *([", ".join(each.protocol)] if apart else [])] for each in found]
    title = f"Compared with {found[0].first} on the same images, in percentage points"
    lines = [title, *_aligned(rows), "", _LEGEND]
    moved = [line for each in found for line in _moved_lines(each)]
    return "\n".join([*lines, *(["", "Classes that moved most, in images:"] if moved else []), *moved])


def _cells(found: Comparison) -> list[str]:
    low, high = found.interval
    p_value = f"{found.p_value:.4f}" if found.p_value >= _SMALLEST_P else f"<{_SMALLEST_P}"
    return [
        shortened(found.second, 40),
        shortened(found.test_set, 40),
        f"{found.pairs.images:,}",
        f"{found.first_top1:.1f} %",
        f"{found.second_top1:.1f} %",
        f"{found.difference:+.2f} ({low:+.2f} to {high:+.2f})",
        p_value + ("=" if found.exact else ""),
        f"{found.pairs.only_first:,}",
        f"{found.pairs.only_second:,}",
        f"{found.detectable:.2f}",
    ]


def _moved_lines(found: Comparison) -> Iterator[str]:
    moved = [each for each in found.classes[:_CLASSES_SHOWN] if each.first != each.second]
    if moved:
        texts = (f"{each.second - each.first:+d} of {each.images:,} {_shown(each.key)}" for each in moved)
        yield f"  {shortened(found.second, 40)}, {shortened(found.test_set, 40)}: {', '.join(texts)}"


def _shown(key: str) -> str:
    return shortened(_name(key) or key, 30)


def _name(key: str) -> str:
    known = classes.find(key)
    return known.name if known else ""


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = []
        for at, (cell, width) in enumerate(zip(row, widths, strict=True)):
            cells.append(cell.rjust(width) if 2 <= at < len(_HEADER) else cell.ljust(width))
        yield "  ".join(cells).rstrip()
