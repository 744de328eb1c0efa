"""The number of published captions of each class, to compare a dataset with.

the paper                   463,622 images
a count of the public file  448,896 entries, in 999 classes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from imagenet_captions.imagenet import classes

PAPER_ROWS = 463_622  # Fang et al. 2022 (arXiv 2205.01397), Introduction
COUNTED_ROWS = 448_896  # the sum of `published_counts`


@dataclass(frozen=True)
class ClassCount:
    """The number of rows of a class, in a dataset and in the published file."""

    wnid: str
    class_name: str
    ours: int
    published: int

    @property
    def difference(self) -> int:
        """The dataset's rows minus the published ones."""
        return self.ours - self.published


@cache
def published_counts() -> dict[str, int]:
    """Return the number of entries in the public file by wnid, as counted by one of its users, for all 1000 classes."""
    return {wnid: int(images) for wnid, _, images in classes.read_table("published_class_counts.tsv")[1:]}


def reconcile(rows: Mapping[str, int]) -> tuple[list[ClassCount], list[str]]:
    """Hold a dataset's rows per wnid against the published counts.

    Return all classes in label order, and the known reasons for differences.
    """
    counts = [
        ClassCount(wnid, classes.by_wnid(wnid).name, rows.get(wnid, 0), published)
        for wnid, published in sorted(published_counts().items())
    ]
    reasons = [
        f"the paper says {PAPER_ROWS:,} images; the public file was counted to have {COUNTED_ROWS:,} entries, "
        f"{PAPER_ROWS - COUNTED_ROWS:,} fewer, and its authors do not say why"
    ]
    for count in counts:
        if not count.published:
            where = f"{count.class_name} ({count.wnid})"
            reasons.append(f"the public file has no entry of {where}; this dataset has {count.ours:,}")
    return counts, reasons
