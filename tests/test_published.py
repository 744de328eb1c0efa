"""A dataset beside the published counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions import classes
from imagenet_captions.building import BuildSettings, build
from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.errors import InputError
from imagenet_captions.packager.package import PackageSettings
from imagenet_captions.published import COUNTED_ROWS, PAPER_ROWS, published_counts, reconcile


def test_the_counts_are_those_of_the_1000_classes() -> None:
    counts = published_counts()
    assert tuple(sorted(counts)) == classes.wnids()
    assert sum(counts.values()) == COUNTED_ROWS
    assert [wnid for wnid, count in counts.items() if not count] == ["n04399382"]
    assert classes.by_wnid("n04399382").name == "teddy bear"
    assert max(counts.values()) == counts["n01882714"] == 961  # koala


def test_a_dataset_is_held_against_them(tmp_path: Path) -> None:
    settings = BuildSettings(release=SAMPLE / "release.json", workers=1, package=PackageSettings(workers=1))
    build(tmp_path / "out", settings)
    found = reconcile(tmp_path / "out")
    assert len(found.classes) == 1000
    assert [count.wnid for count in found.classes] == list(classes.wnids())
    rows = sum(count.ours for count in found.classes)
    assert found.ours == rows > 0
    assert (found.beyond_paper, found.beyond_counted) == (rows - PAPER_ROWS, rows - COUNTED_ROWS)
    assert sum(count.difference for count in found.classes) == found.beyond_counted
    assert PAPER_ROWS - COUNTED_ROWS == 14_726
    assert "14,726 fewer" in found.reasons[0]
    assert any("teddy bear" in reason for reason in found.reasons)
    assert any("ended as no_text" in reason for reason in found.reasons)


def test_only_a_dataset_has_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json"):
        reconcile(tmp_path)
