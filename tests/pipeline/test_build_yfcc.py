"""YFCC100M beside the crawl: only what it lacks is asked for, and without a crawl nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from tests.chain import answerable_photos, build_arguments
from tests.command_line import run_cli, succeed
from tests.sources.made_yfcc import row, write


def manifest(dataset: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((dataset / "manifest.json").read_text())
    return found


def rows(dataset: Path) -> dict[str, dict[str, Any]]:
    columns = ["image_id", "photo_id", "title", "source", "license", "retrieved_at"]
    return {row["image_id"]: row for row in pq.read_table(dataset / "data", columns=columns).to_pylist()}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The sample's photos with the images that they stand for."""
    out = tmp_path_factory.mktemp("matches") / "sample-matches.parquet"
    succeed("match", "--urls", SAMPLE / "urls.txt", "--ids", SAMPLE / "ids.txt", "--out", out)
    images: dict[str, list[str]] = {}
    for match in pq.read_table(out).to_pylist():
        images.setdefault(match["photo_id"], []).append(match["image_id"])
    return images


def offline(out: Path, *more: str | Path) -> list[str | Path]:
    return ["build", "--urls", SAMPLE / "urls.txt", "--ids", SAMPLE / "ids.txt", "--out", out, *more]


def test_only_missing_photos_are_asked_for(tmp_path: Path, images: dict[str, list[str]]) -> None:
    photos = sorted(images)
    known, videos = photos[: len(photos) // 2], photos[:1]
    made = [row(i, f"yfcc {i}", marker="1" if i in videos else "0") for i in [*known, "1"]]
    path, out = write(tmp_path, "sqlite", made), tmp_path / "out"
    with FlickrStandIn(answerable_photos()) as flickr:
        arguments = build_arguments(out, flickr.endpoint, "--yfcc", str(path))
        succeed(*arguments)
        asked = {request.photo_id for request in flickr.requests}
        assert asked == set(photos) - set(known)
        again = succeed(*arguments)
        assert {request.photo_id for request in flickr.requests} == asked
    assert "yfcc: nothing changed, kept" in again.stderr
    found = rows(out)
    sources = {row["photo_id"]: row["source"] for row in found.values()}
    assert {photo for photo, source in sources.items() if source == "yfcc100m"} <= set(known)
    assert {photo for photo, source in sources.items() if source == "flickr"} <= asked
    assert set(sources.values()) == {"yfcc100m", "flickr"}
    for each in (one for one in found.values() if one["source"] == "yfcc100m"):
        told = (each["title"], each["license"], each["retrieved_at"])
        assert told == (f"yfcc {each['photo_id']}", 4, None)
    outcomes = pq.read_table(out / "outcomes.parquet").to_pylist()
    for image in images[videos[0]]:
        (ended,) = [(row["outcome"], row["detail"]) for row in outcomes if row["image_id"] == image]
        assert ended == ("kept", "a still of a video")
    assert {"matches", "crawl", "yfcc100m"} <= set(manifest(out)["inputs"])
    assert "may be normalized" in (out / "README.md").read_text()


def test_without_a_crawl_no_key_is_needed(tmp_path: Path, images: dict[str, list[str]]) -> None:
    known = sorted(images)[:3]
    path, out = write(tmp_path, "old", [row(photo) for photo in known]), tmp_path / "out"
    succeed(*offline(out, "--yfcc", path, "--no-crawl"), FLICKR_API_KEY="", FLICKR_API_SECRET="")
    assert sorted(rows(out)) == sorted(image for photo in known for image in images[photo])
    outcomes = {r["image_id"]: r for r in pq.read_table(out / "outcomes.parquet").to_pylist()}
    for photo in set(images) - set(known):
        for image in images[photo]:
            assert outcomes[image]["outcome"] == "not_asked"
            assert "YFCC100M does not have it, and Flickr was not asked" in outcomes[image]["detail"]
    assert not (tmp_path / "out.work" / "photos.sqlite").exists()
    assert "This product uses the Flickr API" not in (out / "README.md").read_text()


def test_an_answer_of_flickr_counts_more_than_yfcc(tmp_path: Path, images: dict[str, list[str]]) -> None:
    out = tmp_path / "out"
    with FlickrStandIn(answerable_photos()) as flickr:
        succeed(*build_arguments(out, flickr.endpoint))
        before, counts = rows(out), manifest(out)["counts"]
        asked = len(flickr.requests)
        path = write(tmp_path, "plain", [row(photo, "older") for photo in images])
        again = ["--images", SAMPLE / "train", "--missing", "skip", "--yfcc", path, "--no-crawl"]
        succeed(*offline(out, *again), FLICKR_API_KEY="")
        assert len(flickr.requests) == asked
        assert rows(out) == before, "a photo that is gone does not come back, and a newer text stays"
        assert manifest(out)["counts"] == counts
        succeed(*build_arguments(out, flickr.endpoint, "--yfcc", str(path), "--refresh", "0"))
        assert len(flickr.requests) > asked, "what Flickr said once is asked again, or a removal would go unseen"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--yfcc", "nowhere", "--no-crawl"], "--yfcc nowhere does not exist"),
        (["--no-crawl"], "with --no-crawl the texts come from YFCC100M (--yfcc), or from an earlier crawl"),
        (["--yfcc", str(SAMPLE / "urls.txt")], "no Flickr key is set"),
    ],
)
def test_wrong_input(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    done = run_cli(*offline(tmp_path / "out", *arguments), FLICKR_API_KEY="")
    assert done.returncode == 2
    assert sentence in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "out").exists()
