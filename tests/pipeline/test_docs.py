"""The pages on YFCC100M and on diff, run as they are written."""

from __future__ import annotations

import bz2
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from tests.chain import answerable_photos
from tests.command_line import blocks, run_bash, run_lines, succeed
from tests.sources.made_yfcc import row, text


def test_the_commands_of_the_page_on_yfcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fall11_urls.txt").write_bytes((SAMPLE / "urls.txt").read_bytes())
    succeed("match", "--urls", "fall11_urls.txt", "--out", "sample.parquet")
    photos = sorted(set(pq.read_table("sample.parquet")["photo_id"].to_pylist()))[::2]
    Path("yfcc100m_dataset.bz2").write_bytes(bz2.compress(text(row(photo) for photo in photos)))
    alone, with_crawl, stages = blocks("how-to/yfcc.md")
    run_lines(alone, tmp_path)
    first = json.loads(Path("DATASET/manifest.json").read_text())["counts"]
    assert first["not_asked"] > 0
    with FlickrStandIn(answerable_photos()) as flickr:
        words = [*with_crawl.split()[1:], "--endpoint", flickr.endpoint, "--rate", "unlimited"]
        succeed(*words)
        assert not {request.photo_id for request in flickr.requests} & set(photos)
    second = json.loads(Path("DATASET/manifest.json").read_text())["counts"]
    assert "not_asked" not in second
    assert sum(first.values()) == sum(second.values())
    run_lines(stages, tmp_path)
    third = json.loads(Path("FROM-YFCC/manifest.json").read_text())["counts"]
    assert third == first


def test_the_commands_of_the_page_on_diff(tmp_path: Path) -> None:
    entries = json.loads((SAMPLE / "release.json").read_text(encoding="utf-8"))
    for name, chosen in (("from-release", entries), ("rebuilt", entries[1:])):
        (tmp_path / f"{name}.json").write_text(json.dumps(chosen), encoding="utf-8")
        succeed("build", "--release", tmp_path / f"{name}.json", "--out", tmp_path / name)
    run_lines("\n".join(blocks("how-to/diff.md")), tmp_path)
    assert (tmp_path / "differences.tsv").read_text().splitlines()[1:]
    assert json.loads((tmp_path / "differences" / "summary.json").read_text())["equal"] is False
    run_bash("python - <<'EOF'\n" + "\n".join(blocks("how-to/diff.md", "python")) + "\nEOF", tmp_path)
