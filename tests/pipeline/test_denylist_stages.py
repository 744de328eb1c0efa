"""The denylist through every stage: what is on it is never asked for, never cleaned, never packaged, and counted."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.cleaner.clean import CleanSettings, clean
from imagenet_captions.crawler.crawl import CrawlSettings, crawl
from imagenet_captions.crawler.match import MatchSettings, match
from imagenet_captions.crawler.source import CrawlSource
from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.outcomes import Outcome, outcomes_path
from imagenet_captions.sources.release import ReleaseSource
from tests.chain import answerable_photos, build_arguments
from tests.command_line import succeed
from tests.crawler.crawl_tools import World, attempt, ok, write_matches

HERON = "11632020@N00"


def outcomes(product: Path) -> dict[str, tuple[str, str | None]]:
    rows = pq.read_table(outcomes_path(product)).to_pylist()
    return {row["image_id"]: (row["outcome"], row["detail"]) for row in rows if row["image_id"]}


def test_match_finds_no_photo_for_what_is_denied(tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text(
        "n01440764_1\thttp://static.flickr.com/1/11_a.jpg\n"
        "n01440764_2\thttp://static.flickr.com/1/12_a.jpg\n"
        "n01440764_3\thttp://static.flickr.com/1/13_a.jpg\n"
        f"n01440764_4\thttp://www.flickr.com/photos/{HERON}/14/\n"
        "n01440764_5\thttp://www.example.com/1.jpg\n"
        "n01440764_6\thttp://static.flickr.com/1/12_a.jpg\n"
    )
    deny = Denylist(photos=("12",), owners=(HERON.lower(),), images=("n01440764_3", "n01440764_5"))
    out = tmp_path / "matches.parquet"
    counts = match([urls], out, MatchSettings(deny=deny))
    assert counts == {Outcome.KEPT: 1, Outcome.DENIED: 4, Outcome.NOT_FLICKR: 1}
    assert pq.read_table(out)["image_id"].to_pylist() == ["n01440764_1"]
    assert outcomes(out) == {
        "n01440764_2": ("denied", "on the denylist: the photo"),
        "n01440764_3": ("denied", "on the denylist: the image"),
        "n01440764_4": ("denied", "on the denylist: its owner"),
        "n01440764_5": ("not_flickr", "http://www.example.com/1.jpg"),
        "n01440764_6": ("denied", "on the denylist: the photo"),
    }


def test_a_crawl_never_asks_for_a_denied_photo(tmp_path: Path) -> None:
    matches = write_matches(tmp_path, ["11", "12", "13", "12"])
    image = pq.read_table(matches)["image_id"][2].as_py()
    world = World(lambda photo_id: attempt(ok(photo_id)))
    deny = Denylist(photos=("12",), images=(image,))
    report = crawl(matches, tmp_path / "photos.sqlite", CrawlSettings(deny=deny), world.tools())
    assert [photo_id for _, photo_id in world.calls] == ["11"]
    assert (report.asked, report.left) == (1, 0)


def test_an_answer_that_the_store_has_is_not_used(tmp_path: Path) -> None:
    matches, store = write_matches(tmp_path, ["11", "12", "13", "14"]), tmp_path / "photos.sqlite"
    nsid = {"12": {"owner": {"nsid": HERON}}, "13": {"title": {"_content": "A heron"}}}
    world = World(lambda photo_id: attempt(ok(photo_id, **nsid.get(photo_id, {}))))
    crawl(matches, store, CrawlSettings(limit=3), world.tools())
    deny = Denylist(photos=("11", "14"), owners=(HERON.lower(),))
    out = tmp_path / "captions.parquet"
    counts = clean(CrawlSource(matches, store, deny), out, CleanSettings(deny=deny, language=False), 1)
    assert counts == {Outcome.KEPT: 1, Outcome.DENIED: 3}
    assert pq.read_table(out)["photo_id"].to_pylist() == ["13"]
    details = sorted((detail or "").removeprefix("on the denylist: ") for _, detail in outcomes(out).values())
    assert details == ["its owner", "the photo", "the photo"]
    content = b"".join(path.read_bytes() for path in (out, outcomes_path(out)))
    assert HERON.encode() not in content


def test_a_release_knows_no_photos_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = ReleaseSource(SAMPLE / "release.json")
    image = next(source.batches())["image_id"][-1].as_py()
    deny = Denylist(photos=("1", "2"), images=(image,))
    with caplog.at_level(logging.WARNING):
        counts = clean(source, tmp_path / "captions.parquet", CleanSettings(deny=deny, language=False), 1)
    assert counts[Outcome.DENIED] == 1
    assert "the source knows no photos or owners, and the denylist names 2" in caplog.text


def test_build_denies_from_the_first_call_to_the_dataset(tmp_path: Path) -> None:
    photos = [(i, a["photo"]) for i, a in answerable_photos().items() if a.get("photo", {}).get("media") == "photo"]
    photo_id, owner = next((i, p["owner"]["nsid"]) for i, p in photos if p["title"]["_content"])
    deny, out = tmp_path / "deny.txt", tmp_path / "out"
    with FlickrStandIn(answerable_photos()) as flickr:
        deny.write_text(f"{photo_id}  # asked by mail\n")
        done = succeed(*build_arguments(out, flickr.endpoint, "--deny", str(deny)))
        assert photo_id not in {request.photo_id for request in flickr.requests}
        first = json.loads((out / "manifest.json").read_text())
        assert first["counts"]["denied"] >= 1

        # The list is lifted, and the photo asked for; then its owner wants all photos out: nothing is asked again.
        succeed(*build_arguments(out, flickr.endpoint))
        second = json.loads((out / "manifest.json").read_text())
        assert "denied" not in second["counts"]
        assert photo_id in pq.read_table(out / "data", columns=["photo_id"])["photo_id"].to_pylist()
        asked = len(flickr.requests)
        deny.write_text(f"https://www.flickr.com/people/{owner}/\n")
        done = succeed(*build_arguments(out, flickr.endpoint, "--deny", str(deny)))
        assert len(flickr.requests) == asked
    third = json.loads((out / "manifest.json").read_text())
    assert third["counts"]["denied"] >= 1
    assert sum(third["counts"].values()) == sum(second["counts"].values()) == sum(first["counts"].values())
    assert owner not in pq.read_table(out / "data", columns=["owner"])["owner"].to_pylist()
    assert "denied" in done.stdout
    assert "SHA-256" in third["settings"]["deny"]
