"""The embedded sample is what its README says."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from PIL import Image

import imagenet_captions
from imagenet_captions.outcomes import Outcome

SAMPLE = Path(imagenet_captions.__file__).parent / "demo" / "sample"

# Outcomes of a run over ids.txt; the others belong to a release, a denylist, a crawl with a limit and a filter.
REACHED = {
    "kept": 33, "no_url": 3, "bad_url": 1, "not_flickr": 5, "not_a_photo": 3, "not_found": 2, "private": 1,
    "unreachable": 1, "no_text": 3, "unknown_class": 1, "bad_record": 1, "no_image": 1, "broken_image": 1,
}  # fmt: skip
ELSEWHERE = {Outcome.DUPLICATE_ID, Outcome.DENIED, Outcome.NOT_ASKED, Outcome.FILTERED}


def expected() -> dict[str, str]:
    with (SAMPLE / "expected.tsv").open(encoding="ascii", newline="") as opened:
        return {row["image_id"]: row["outcome"] for row in csv.DictReader(opened, delimiter="\t")}


def test_the_sample_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 400_000


def test_every_outcome_of_a_build_from_flickr_is_there() -> None:
    assert Counter(expected().values()) == REACHED
    assert set(Outcome) - ELSEWHERE == {Outcome(name) for name in REACHED}


def test_pictures_open_but_for_the_broken_one() -> None:
    kinds: Counter[str] = Counter()
    for path in sorted((SAMPLE / "train").rglob("*.JPEG")):
        if expected()[path.stem] == "broken_image":
            assert path.stat().st_size == 0
            continue
        with Image.open(path) as picture:
            picture.load()
            kinds[f"{picture.format} {picture.mode}"] += 1
    assert (kinds["PNG P"], kinds["JPEG CMYK"], kinds["JPEG L"]) == (1, 1, 1)
    assert kinds["JPEG RGB"] > 40
