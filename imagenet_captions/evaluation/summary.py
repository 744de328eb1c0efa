"""metrics.json as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def format_metrics(metrics: Mapping[str, Any]) -> str:
    """A row a test set: top-1 with its interval where there is one, top-5, the mean over classes, and what is missing.

    >>> entry = {"n": 4, "top1": 0.5, "top5": 0.75, "mean_per_class": 0.25, "classes": 2}
    >>> print(format_metrics({"classifier": "head", "test_sets": {"micro": entry}}))
    classifier: head
    test set  images   top-1   top-5  mean per class
    micro          4  50.0 %  75.0 %          25.0 %
    """
    rows = [["test set", "images", "top-1", "top-5", "mean per class", ""]]
    rows += [_row(name, entry) for name, entry in metrics["test_sets"].items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others, remark in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=False))]
        lines.append("  ".join([*cells, remark]).rstrip())
    made = ", ".join(f"{key} {metrics[key]}" for key in ("prompts", "k", "train_images") if key in metrics)
    return "\n".join([f"classifier: {metrics['classifier']}" + (f" ({made})" if made else ""), *lines])


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    low_high = entry.get("top1_interval")
    top1, top5, mean = (f"{100 * entry[what]:.1f} %" for what in ("top1", "top5", "mean_per_class"))
    if low_high is not None:
        top1 += f" ({100 * low_high[0]:.1f} to {100 * low_high[1]:.1f})"
    remarks = [f"{entry[what]:,} {what}" for what in ("missing", "broken") if entry.get(what)]
    return [name, f"{entry['n']:,}", top1, top5, mean, ", ".join(remarks)]
