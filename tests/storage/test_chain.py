"""The whole chain from and to an object store, byte for byte what it is on a disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from tests.chain import answerable_photos
from tests.command_line import invoke
from tests.storage.conftest import SECRET, Bucket, local_files


def steps(inputs: str, out: str) -> list[list[str]]:
    """The commands of a chain that reads below `inputs` and writes below `out`."""
    dataset = f"{out}/dataset"
    return [
        ["build", "--release", f"{inputs}/release.json", "--images", f"{inputs}/train", "--out", dataset],
        ["filter", dataset, "--has", "title", "--out-ids", f"{out}/ids.txt"],
        ["filter", dataset, "--class", "dog", "--ids", f"{out}/ids.txt", "--out", f"{out}/dogs"],
        ["export", dataset, "--to", "webdataset", "--shard-size", "10", "--out", f"{out}/shards"],
        ["export", dataset, "--to", "open-clip-csv", "--out", f"{out}/open_clip.csv"],
        ["export", dataset, "--to", "release-json", "--out", f"{out}/again.json"],
        ["label-by-text", dataset, "--out", f"{out}/labelled.parquet"],
        ["verify", dataset],
    ]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the chain makes on a disk."""
    out = tmp_path_factory.mktemp("here")
    run_all(steps(str(SAMPLE), str(out)), out)
    return out


def run_all(commands: Sequence[list[str]], folder: Path) -> str:
    """Run commands of ours in this process, in `folder`; return all that they say."""
    said, before = "", Path.cwd()
    os.chdir(folder)  # contextlib.chdir is there from Python 3.11 on
    try:
        for command in commands:
            workers = ["--workers", "1"] if command[0] in ("build", "label-by-text") else []
            code, output = invoke(*command, *workers)
            assert code == 0, (command, output)
            said += output
    finally:
        os.chdir(before)
    return said


@pytest.mark.slow
def test_every_file_is_that_of_the_local_chain(here: Path, bucket: Bucket, tmp_path: Path) -> None:
    for name in ("release.json", "train"):
        bucket.upload(SAMPLE / name, f"in/{name}")
    said = run_all(steps(f"{bucket.url}/in", f"{bucket.url}/out"), tmp_path)
    made = bucket.files("out")
    expected = {name: data for name, data in local_files(here).items() if not name.startswith("dataset.work/")}
    assert made.keys() == expected.keys()
    assert [name for name in made if made[name] != expected[name]] == []
    assert {path.name for path in tmp_path.iterdir()} == {"dataset.work"}
    assert SECRET not in said
    assert not any(SECRET.encode() in data for data in (*made.values(), *local_files(tmp_path).values()))


def test_commands_that_compare_and_tell(here: Path, bucket: Bucket, tmp_path: Path) -> None:
    dataset = bucket.upload(here / "dataset", "dataset")
    said = run_all([["diff", str(here / "dataset"), dataset, "--raw", "--out", f"{bucket.url}/diff"]], tmp_path)
    assert said.startswith("equal: ")
    assert set(bucket.files("diff")) == {"changes.tsv", "classes.tsv", "summary.json"}
    for place, out in ((dataset, f"{bucket.url}/stats"), (str(here / "dataset"), str(tmp_path / "stats"))):
        told = ["stats", place, "--images", str(SAMPLE / "train"), "--csv", out + ".csv", "--markdown", out + ".md"]
        run_all([told], tmp_path)
    for name in ("stats.csv", "stats.md"):
        assert bucket.files()[name] == (tmp_path / name).read_bytes()


def test_the_page_with_pictures_out_of_a_store(here: Path, bucket: Bucket, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    dataset = bucket.upload(here / "dataset", "dataset")
    run_all([["stats", dataset, "--html", f"{bucket.url}/page.html"]], tmp_path)
    run_all([["stats", str(here / "dataset"), "--html", str(tmp_path / "page.html")]], tmp_path)
    assert bucket.files()["page.html"] == (tmp_path / "page.html").read_bytes()


def test_from_a_url_list_with_a_crawl(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLICKR_API_KEY", "a-test-key")
    for name in ("urls.txt", "ids.txt", "train"):
        bucket.upload(SAMPLE / name, name)
    for inputs, out in ((str(SAMPLE), str(tmp_path / "local")), (bucket.url, f"{bucket.url}/dataset")):
        with FlickrStandIn(answerable_photos()) as flickr:
            build = ["build", "--urls", f"{inputs}/urls.txt", "--ids", f"{inputs}/ids.txt", "--out", out]
            build += ["--images", f"{inputs}/train", "--missing", "skip", "--work", str(tmp_path / "work")]
            run_all([[*build, "--endpoint", flickr.endpoint, "--rate", "unlimited"]], tmp_path)
    # The second build finds the answers of the first in the work folder, so even the times are the same.
    assert bucket.files("dataset") == local_files(tmp_path / "local")


def test_memory_and_file_urls(here: Path, tmp_path: Path) -> None:
    run_all(steps(f"file://{SAMPLE}", f"file://{tmp_path}")[:1], tmp_path)
    assert local_files(tmp_path / "dataset") == local_files(here / "dataset")
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        memory.put(str(SAMPLE), "/chain/in", recursive=True)
        run_all(steps("memory://chain/in", "memory://chain/out"), tmp_path)
        made = {key.removeprefix("/chain/out/"): memory.cat_file(key) for key in memory.find("/chain/out")}
        assert made == {name: data for name, data in local_files(here).items() if not name.startswith("dataset.work/")}
    finally:
        memory.rm("/chain", recursive=True)
