"""Paths and URLs: what they are taken for, what is said of those that do not work, and what never is."""

from __future__ import annotations

import importlib.util
import pickle
import re
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.cli.app import command
from imagenet_captions.cli.commands import COMMANDS
from imagenet_captions.demo.run import SAMPLE as SAMPLE_FOLDER
from imagenet_captions.errors import InputError
from imagenet_captions.exports.settings import ExportSettings
from imagenet_captions.packager.package import PackageSettings
from imagenet_captions.schema import MATCHES
from imagenet_captions.storage.files import digest, replacing, walk
from imagenet_captions.storage.places import Ranges, is_remote, place, refuse_secrets
from tests.command_line import invoke
from tests.storage.conftest import SECRET, Bucket

SAMPLE = SAMPLE_FOLDER / "release.json"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("work/out", "work/out"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("C:/data", "C:/data"),
        ("odd:name", "odd:name"),
    ],
)
def test_what_is_on_this_machine_is_a_path(given: str, path: str) -> None:
    assert place(given) == Path(path)
    assert place(Path(path)) == Path(path)


def test_settings_hold_the_place_of_what_was_given() -> None:
    settings = PackageSettings(images="train")
    assert settings.images == pickle.loads(pickle.dumps(settings)).images == Path("train")
    assert replace(settings, images="memory://a/b").images == place("memory://a/b")
    with pytest.raises(InputError, match="which may hold a secret"):
        PackageSettings(images=f"s3://key:{SECRET}@bucket/train")
    with pytest.raises(InputError, match="which may hold a secret"):
        ExportSettings(to="open-clip-csv", path_prefix=f"https://me:{SECRET}@host/train")


def test_names_are_those_of_pathlib() -> None:
    there = place("memory://bucket/a/b.tar.gz")
    assert (there.name, there.suffix, str(there.parent)) == ("b.tar.gz", ".gz", "memory://bucket/a")
    assert str(there.with_suffix(".json")) == "memory://bucket/a/b.tar.json"
    assert str(there.parent / "x" / "y/z") == "memory://bucket/a/x/y/z"
    assert [str(parent) for parent in there.parents] == ["memory://bucket/a", "memory://bucket"]
    assert there == place("memory://bucket//a/b.tar.gz/") != Path("/bucket/a/b.tar.gz")
    assert sorted([there, there.parent]) == [there.parent, there]


def test_a_place_travels_to_workers_unless_they_cannot_see_it(server: str) -> None:
    there = place("s3://bucket/a")
    assert pickle.loads(pickle.dumps(there)) == there
    with pytest.raises(InputError, match="in the memory of one process"):
        pickle.dumps(place("memory://bucket/a"))
    with pytest.raises(ValueError, match="written whole"):
        there.open("w")


URLS_WITH_SECRETS = [
    "https://sesame@host/x",
    "s3://AKIA:sesame@bucket/x",
    "s3://AKIA:se/sa@me/sesame@bucket/x",
    "https://host/x?key=sesame",
    "https://h/x.zip?X-Amz-Signature=sesame&part=1",
    "https://host/x#sesame",
    "https://me:se#sesame@host/x",
    "https://sesame%40host/x",
    "https://host/x%3Fkey=sesame",
    "https://host/x%253Fkey=sesame",
    "https%3A%2F%2Fsesame@host/x",
    "https:/sesame@host/x",
    r"https:\\sesame@host\x",
    "simplecache::https://sesame@host/x",
    "imagenet=https://host/x?key=sesame",
    "open_clip:RN50@https://sesame@host/x.pt",
    " https://sesame@host/x",
]


SECRET_SAID = re.compile(
    r"the URL (https|s3|file)://… has a user name \(@\), a query .*, which may hold a secret; remove it"
)


@pytest.mark.parametrize("url", URLS_WITH_SECRETS)
def test_a_url_that_may_hold_a_secret_is_refused_and_not_shown(url: str) -> None:
    for refuse in (refuse_secrets, place):
        with pytest.raises(InputError, match=SECRET_SAID) as caught:
            refuse(url)
        assert not any(part in str(caught.value) for part in ("sesame", "AKIA", "me@", "Signature", "/x"))


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a b/c@d:e.parquet",
        "https://host:8080/photos/1@N00/x%20y",
        "http://[::1]:8000/services/rest/",
        "hf://datasets/org/name@refs%2Fconvert%2Fparquet/x.parquet",
        "file:///data/a%23b%3Fc@d",
        "C:/data/a@b?c#d",
        "NAME=data/x@y#z",
        "open_clip:ViT-B-32@laion2b_s34b_b79k",
    ],
)
def test_other_urls_and_paths_are_taken(url: str) -> None:
    assert refuse_secrets(url) == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        *((f"{scheme}:/bucket/x", "has one slash behind") for scheme in ("S3", "file")),
        ("foo://bucket/x", "Protocol not known: foo"),
        ("tosfs://bucket/x", "cannot be read"),
    ],
)
def test_urls_that_nothing_reads(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        place(url)
    assert place(f"./{url}") == Path(url)


def test_files_of_a_store(bucket: Bucket, tmp_path: Path) -> None:
    for name in ("a-b/x", "a/x", "a/sub/y", "z"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    bucket.upload(tmp_path, "in")
    bucket.system.pipe_file(f"{bucket.name}/in/a/", b"")  # what a web console leaves of a folder made by hand
    folder = place(f"{bucket.url}/in")
    assert is_remote(folder)
    assert (
        [name for _, name in walk(folder)] == [name for _, name in walk(tmp_path)] == ["a/sub/y", "a/x", "a-b/x", "z"]
    )
    assert [entry.name for entry in folder.iterdir()] == ["a", "a-b", "z"]
    assert (folder.is_dir(), folder.is_file(), (folder / "z").is_file(), (folder / "no").exists()) == (1, 0, 1, 0)
    assert (folder / "a" / "sub" / "y").read_text() == "a/sub/y"
    assert (folder / "z").stat().st_size == 1
    before = digest(folder)
    assert digest(folder) == before
    with replacing(folder / "z") as new:
        new.write_text("Z")
        assert (folder / "z").read_text() == "z"
    assert (folder / "z").read_text() == "Z"
    assert digest(folder) != before
    with pytest.raises(NotADirectoryError), replacing(folder / "z") as new:
        (new / "half").touch()
    assert (folder / "z").read_text() == "Z"
    with pytest.raises(FileNotFoundError, match="does not exist"):
        (folder / "no").read_text()


def test_what_is_read_is_what_is_asked_for() -> None:
    content = bytes(range(256)) * 200
    asked: list[int] = []

    def fetch(start: int, stop: int) -> bytes:
        asked.append(stop - start)
        return content[start:stop]

    exact = Ranges(fetch, len(content), "x")
    exact.seek(1000)
    assert (exact.read(7), exact.tell(), asked) == (content[1000:1007], 1007, [7])
    for stop in (1100, 1200):  # a later request may have a longer part with the same start
        exact.parts = [(1000, stop)]
        exact.seek(stop - 7)
        assert exact.read(7) == content[stop - 7 : stop]
    without_ranges = Ranges(lambda start, stop: b"the whole file", 14, "https://host/x")
    with pytest.raises(InputError, match="does not give parts of a file"):
        without_ranges.read(5)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_shows_a_secret_in_a_url(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    url = "https://host/x?key=sesame"
    flags = command(name).flags.keys() - {"--contains", "--matches", "--caption"}
    for arguments in ([url], ["x", "y", url], *([flag, url] for flag in flags), *([f"{flag}={url}"] for flag in flags)):
        code, said = invoke(name, *arguments)
        assert (code, bool(SECRET_SAID.search(said))) == (2, True), (arguments, said)
        assert len(said.splitlines()) == 1
        assert "sesame" not in said + caplog.text
    assert not list(tmp_path.iterdir())


def test_texts_to_look_for_may_be_urls() -> None:
    for words in (["--contains", "title=https://me@host/?x#y"], ["--matches=title=https://me@host/?x#y"]):
        code, said = invoke("filter", "nowhere", *words, "--out-ids", "x")
        assert (code, "nowhere" in said) == (2, True), said


MISTAKES = [
    ("verify s3://no-such-bucket-here/x", "no manifest.json"),
    ("build --release {bucket}/no.json --out {tmp}/x", "no.json does not exist"),
    ("clean --release {sample} --out s3://no-such-bucket-here/y", "or its bucket does not"),
    ("verify gs://bucket/x", "; for the extra 'cloud' run"),
    ("build --release {sample} --out {bucket}/x --work {bucket}/work", "need a disk"),
    ("crawl --matches {bucket}/m.parquet --store {bucket}/photos.sqlite", "SQLite works on files"),
    ("crawl --key-file {bucket}/key --store {tmp}/s --matches {matches}", "does not travel"),
    ("build --release {sample} --out {bucket}", "whole bucket"),
    ("demo --out {bucket}/demo", "is a URL"),
]


@pytest.mark.parametrize(("command", "says"), MISTAKES)
def test_a_mistake_is_one_sentence(command: str, says: str, bucket: Bucket, tmp_path: Path) -> None:
    if "gs://" in command and importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    matches = tmp_path / "matches.parquet"
    pq.write_table(MATCHES.empty_table(), matches)
    names = {"bucket": bucket.url, "tmp": tmp_path, "secret": SECRET, "sample": SAMPLE, "matches": matches}
    code, said = invoke(*command.format(**names).split())
    assert code == 2, said
    assert says in said
    sentences = [line for line in said.splitlines() if line != "clean ..."]
    assert len(sentences) == 1, said
    assert sentences[0].startswith("imagenet-captions: ")
    assert SECRET not in said
    assert bucket.files() == {}


class Failing(BaseHTTPRequestHandler):
    """A web server that answers 500, or 404 for what is called gone."""

    def do_GET(self) -> None:
        self.send_error(404 if "gone" in self.path else 500)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        pass


def test_a_web_server_that_fails_is_not_taken_for_a_missing_file() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Failing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        for url in (f"{here}/x", "http://127.0.0.1:9/x"):
            code, said = invoke("stats", url)
            assert (code, "cannot be used: " in said) == (2, True), said
        code, said = invoke("stats", f"{here}/gone")
        assert (code, "cannot be used" in said) == (2, False), said
        server.shutdown()
