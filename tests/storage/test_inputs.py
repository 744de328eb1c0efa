"""Every kind of input from a URL, against the same from a path."""

from __future__ import annotations

import gzip
import re
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq
import pytest

from imagenet_captions.demo.flickr_stand_in import FlickrStandIn
from imagenet_captions.demo.run import SAMPLE
from tests.chain import answerable_photos
from tests.command_line import invoke
from tests.packager.made import contents
from tests.sources.made_yfcc import row, text
from tests.storage.conftest import Bucket

DOCS = Path(__file__).parent.parent.parent / "docs" / "how-to"
MEMORY = "memory://inputs"


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    yield system
    if system.exists("/inputs"):
        system.rm("/inputs", recursive=True)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a user may have, in one folder."""
    folder = tmp_path_factory.mktemp("inputs")
    urls = (SAMPLE / "urls.txt").read_bytes()
    (folder / "urls.txt").write_bytes(urls)
    with zipfile.ZipFile(folder / "urls.zip", "w") as packed:
        packed.writestr("fall11_urls.txt", urls)
    with zipfile.ZipFile(folder / "release.zip", "w") as packed:
        packed.write(SAMPLE / "release.json", "imagenet_captions.json")
    with tarfile.open(folder / "train.tar", "w") as tar:
        tar.add(SAMPLE / "train", "train")
    with tarfile.open(folder / "urls.tgz", "w:gz") as tar:
        tar.add(folder / "urls.txt", "fall11_urls.txt")
    for command in (
        f"build --release {SAMPLE / 'release.json'} --images {SAMPLE / 'train'} --workers 1 --out {folder / 'dataset'}",
        f"match --urls {folder / 'urls.txt'} --out {folder / 'matches.parquet'}",
    ):
        assert invoke(*command.split())[0] == 0
    photos = sorted(set(pq.read_table(folder / "matches.parquet")["photo_id"].to_pylist()))[::2]
    (folder / "yfcc100m_dataset").write_text(text(row(photo) for photo in photos).decode())
    (folder / "parts").mkdir()
    (folder / "parts" / "yfcc100m_dataset-1.gz").write_bytes(gzip.compress(text(row(photo) for photo in photos)))
    (folder / "classes.txt").write_text("golden retriever\nn01440764\n")
    (folder / "deny.txt").write_text("n01440764_10026\n")
    (folder / "counts.tsv").write_text("wnid\tcount\nn01440764\t1\nn02099601\t1\n")
    return folder


needs_report = pytest.mark.skipif(not (find_spec("matplotlib") and find_spec("jinja2")), reason="needs the extra")
KINDS = [
    *(f"match --urls IN/{name} --out OUT.parquet" for name in ("urls.zip", "urls.tgz")),
    *(f"match --urls IN/urls.txt --ids IN/{ids} --out OUT.parquet" for ids in ("train.tar", "dataset")),
    "clean --release IN/release.zip --out OUT.parquet --workers 1",
    "clean --matches IN/matches.parquet --yfcc IN/yfcc100m_dataset --out OUT.parquet --workers 1",
    "extract-yfcc IN/parts --matches IN/matches.parquet --out OUT.parquet",
    "filter IN/dataset --class-list IN/classes.txt --deny IN/deny.txt --out-ids OUT.txt",
    "filter IN/dataset --like IN/counts.tsv --out-ids OUT.txt",
    "label-by-text IN/yfcc100m_dataset --out OUT.csv --workers 1",
    "export IN/dataset --to attribution --out OUT.md",
    "export IN/dataset --to webdataset --images IN/train.tar --out OUT",
    "stats IN/dataset --images IN/train.tar --counts OUT.tsv --csv OUT.csv --markdown OUT.md",
    pytest.param("stats IN/dataset --html OUT.html", marks=needs_report),
    "diff IN/dataset IN/dataset --raw --out OUT",
]


@pytest.mark.parametrize("command", KINDS)
def test_an_input_is_the_same_from_a_url(command: str, inputs: Path, memory: Any, tmp_path: Path) -> None:
    memory.put(str(inputs), "/inputs/in", recursive=True)
    said = {}
    for kind, (given, out) in {"local": (inputs, tmp_path / "out"), "url": (f"{MEMORY}/in", f"{MEMORY}/out")}.items():
        code, output = invoke(*command.replace("IN/", f"{given}/").replace("OUT", f"{out}/made").split())
        said[kind] = (code, re.sub(r"\S*(made|dataset)\b", r"\1", output))
    assert said["url"] == said["local"]
    # The command in an export's receipt has the images as they were given.
    found = {
        name.removeprefix("/inputs/"): memory.cat_file(name).replace(f"{MEMORY}/in/".encode(), f"{inputs}/".encode())
        for name in memory.find("/inputs/out")
    }
    assert found == contents(tmp_path)


@pytest.mark.slow
def test_the_page_as_it_is_written(
    bucket: Bucket, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.upload(inputs / "release.zip", "imagenet_captions.zip")
    bucket.upload(SAMPLE / "train", "train")
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "urls.md").read_text(encoding="utf-8").replace("s3://bucket", bucket.url)
    (commands,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    monkeypatch.setattr("imagenet_captions.engines.local.default_workers", lambda: 1)
    for line in commands.splitlines():
        code, said = invoke(*line.split()[1:])
        assert code == 0, (line, said)
    (python,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(python, names)
    assert len(names["rows"]) == 3
    assert Path("captions.work").is_dir()
    assert Path("classes.csv").is_file()
    assert bucket.files()["slim.csv"].startswith(b"filename,caption\n")


def test_from_a_url_list_with_a_crawl(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLICKR_API_KEY", "a-test-key")
    for name in ("urls.txt", "ids.txt", "train"):
        bucket.upload(SAMPLE / name, name)
    for inputs, out in ((str(SAMPLE), str(tmp_path / "local")), (bucket.url, f"{bucket.url}/dataset")):
        with FlickrStandIn(answerable_photos()) as flickr:
            build = f"build --urls {inputs}/urls.txt --ids {inputs}/ids.txt --images {inputs}/train --missing skip"
            more = f"--out {out} --work {tmp_path}/work --endpoint {flickr.endpoint} --rate unlimited --workers 1"
            code, said = invoke(*build.split(), *more.split())
            assert code == 0, said
    # The second build finds the answers of the first in the work folder, so even the times are the same.
    assert bucket.files("dataset") == contents(tmp_path / "local")
