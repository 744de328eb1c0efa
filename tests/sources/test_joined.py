"""YFCC100M and a crawl together: each image is one source's, and ends in one outcome."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.cleaner.clean import CleanSettings, clean
from imagenet_captions.crawler.policy import State
from imagenet_captions.crawler.store import open_store
from imagenet_captions.flickr.denylist import NOTHING_DENIED, Denylist
from imagenet_captions.outcomes import outcomes_path
from imagenet_captions.pipeline.build import SourceFiles, open_source
from tests.crawler.crawl_tools import ok, write_matches
from tests.sources.made_yfcc import row, write

# What YFCC100M says of a photo, what the store says, and where its image ends.
PHOTOS = {
    "11": ("photo", None, "yfcc100m"),
    "12": ("photo", State.OK, "flickr"),
    "13": ("photo", State.NOT_FOUND, "not_found"),
    "14": ("photo", State.UNREACHABLE, "yfcc100m"),
    "15": ("video", None, "yfcc100m"),
    "16": ("video", State.OK, "flickr"),
    "17": (None, None, "not_asked"),
    "18": (None, State.OK, "flickr"),
    "19": (None, State.PRIVATE, "private"),
    "20": (None, State.UNREACHABLE, "unreachable"),
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
    with open_store(store) as opened:
        for photo_id, (_, state, _) in PHOTOS.items():
            answer = ok(photo_id, title="A heron") if state is State.OK else {"stat": "fail", "code": 1}
            if state is State.UNREACHABLE:
                opened.save_failure(photo_id, state, "HTTP 500")
            elif state is not None:
                opened.save_answer(photo_id, state, json.dumps(answer).encode(), 1_700_000_000)
    known = [row(i, marker="1" if kind == "video" else "0") for i, (kind, _, _) in PHOTOS.items() if kind]
    path = write(tmp_path, "plain", known)
    source = open_source(SourceFiles(matches=matches, store=store, yfcc=path), CleanSettings(deny=deny))
    counts = clean(source, tmp_path / "captions.parquet", CleanSettings(language=False, deny=deny), 1)
    assert sum(counts.values()) == len(PHOTOS) + 2

    kept = pq.read_table(tmp_path / "captions.parquet").to_pylist()
    dropped = pq.read_table(outcomes_path(tmp_path / "captions.parquet")).to_pylist()
    ends = {found["image_id"]: found["source"] for found in kept}
    ends |= {found["image_id"]: found["outcome"] for found in dropped}
    assert len(ends) == len(kept) + len(dropped) == len(PHOTOS) + 2
    expected = {"n01440764_90": "no_url"}
    for number, photo_id in enumerate([*PHOTOS, "11"]):
        image, end = f"n01440764_{number}", PHOTOS[photo_id][2]
        # The owner is known of YFCC100M's photos and videos alone.
        by_owner = bool(deny.owners) and end == "yfcc100m"
        expected[image] = "denied" if by_owner or photo_id in deny.photos or image in deny.images else end
    assert ends == expected
    assert set(source.inputs) == {"matches", "yfcc100m", "crawl"}
