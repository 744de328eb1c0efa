"""YFCC100M and a crawl together: each image is one source's, and ends in one outcome."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.cleaner.clean import CleanSettings, clean
from imagenet_captions.crawler.policy import State
from imagenet_captions.crawler.store import Store
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.outcomes import outcomes_path
from imagenet_captions.pipeline.build import SourceFiles, open_source
from tests.crawler.crawl_tools import ok, write_matches
from tests.sources.made_yfcc import row, write

# One photo of each pair (what YFCC100M says, what the store says).
PHOTOS = {
    "11": ("photo", None),
    "12": ("photo", State.OK),
    "13": ("photo", State.NOT_FOUND),
    "14": ("photo", State.UNREACHABLE),
    "15": ("video", None),
    "16": ("video", State.OK),
    "17": (None, None),
    "18": (None, State.OK),
    "19": (None, State.PRIVATE),
    "20": (None, State.UNREACHABLE),
}
ENDS = {
    "11": "yfcc100m",
    "12": "flickr",
    "13": "not_found",
    "14": "yfcc100m",
    "15": "yfcc100m",
    "16": "flickr",
    "17": "not_asked",
    "18": "flickr",
    "19": "private",
    "20": "unreachable",
}


@pytest.mark.parametrize(
    "deny",
    [
        NOTHING_DENIED,
        Denylist(photos=("11", "12", "15", "17", "19")),
        Denylist(owners=("11632020@n00",)),
        Denylist(images=("n01440764_0", "n01440764_3", "n01440764_7")),
    ],
)
def test_every_image_ends_once(tmp_path: Path, deny: Denylist) -> None:
    matches = write_matches(tmp_path, [*PHOTOS, "11"], [("n01440764_90", "no_url")])
    store = tmp_path / "photos.sqlite"
    with Store(store) as opened:
        for photo_id, (_, state) in PHOTOS.items():
            if state is State.UNREACHABLE:
                opened.save_failure(photo_id, state, "HTTP 500")
            elif state is not None:
                answer = (
                    ok(photo_id, title="A heron")
                    if state is State.OK
                    else {"stat": "fail", "code": 1, "message": "gone"}
                )
                opened.save_answer(photo_id, state, json.dumps(answer).encode(), 1_700_000_000)
    known = [row(i, marker="1" if kind == "video" else "0") for i, (kind, _) in PHOTOS.items() if kind]
    path = write(tmp_path, "plain", known)
    source = open_source(SourceFiles(matches=matches, store=store, yfcc=path), CleanSettings(deny=deny))
    counts = clean(source, tmp_path / "captions.parquet", CleanSettings(language=False, deny=deny), 1)
    assert sum(counts.values()) == len(PHOTOS) + 2

    kept = pq.read_table(tmp_path / "captions.parquet").to_pylist()
    dropped = pq.read_table(outcomes_path(tmp_path / "captions.parquet")).to_pylist()
    ends = {found["image_id"]: found["source"] for found in kept}
    ends |= {found["image_id"]: found["outcome"] for found in dropped}
    assert len(ends) == len(kept) + len(dropped) == len(PHOTOS) + 2
    photos = [*PHOTOS, "11"]
    expected = {f"n01440764_{number}": ENDS[photo_id] for number, photo_id in enumerate(photos)}
    differs = {image for image, end in expected.items() if ends[image] != end}
    assert {ends[image] for image in differs} <= {"denied"}, {i: (ends[i], expected[i]) for i in differs}
    by_photo = {f"n01440764_{number}" for number, photo_id in enumerate(photos) if photo_id in deny.photos}
    by_owner = {f"n01440764_{number}" for number, photo_id in enumerate(photos) if ENDS[photo_id] == "yfcc100m"}
    if deny.owners:
        by_owner |= {"n01440764_4"}  # of a video, the owner is known, too
    else:
        by_owner = set()
    assert differs == by_photo | by_owner | set(deny.images)
    assert Counter(ends.values())["no_url"] == 1
    assert set(source.inputs()) == {"matches", "yfcc100m", "crawl"}
