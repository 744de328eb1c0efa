"""A dataset beside the published counts."""

from __future__ import annotations

from imagenet_captions.imagenet import classes
from imagenet_captions.imagenet.published_counts import COUNTED_ROWS, PAPER_ROWS, published_counts, reconcile


def test_the_counts_are_those_of_the_1000_classes() -> None:
    counts = published_counts()
    assert tuple(sorted(counts)) == classes.wnids()
    assert sum(counts.values()) == COUNTED_ROWS
    assert [wnid for wnid, count in counts.items() if not count] == ["n04399382"]
    assert classes.by_wnid("n04399382").name == "teddy bear"
    assert max(counts.values()) == counts["n01882714"] == 961  # koala


def test_rows_are_held_against_them() -> None:
    ours = dict.fromkeys(classes.wnids(), 2)
    counts, reasons = reconcile(ours)
    assert [count.wnid for count in counts] == list(classes.wnids())
    assert sum(count.difference for count in counts) == 2000 - COUNTED_ROWS
    assert PAPER_ROWS - COUNTED_ROWS == 14_726
    assert "14,726 fewer" in reasons[0]
    assert len(reasons) == 2
    assert "teddy bear" in reasons[1]
