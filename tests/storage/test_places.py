"""Paths and URLs: what they are taken for, what is said of those that do not work, and what never is."""

from __future__ import annotations

import importlib.util
import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from imagenet_captions.demo.run import SAMPLE as SAMPLE_FOLDER
from imagenet_captions.errors import InputError
from imagenet_captions.files import digest, replacing, walk
from imagenet_captions.records import MATCHES
from imagenet_captions.storage.places import is_remote, place, redacted
from imagenet_captions.storage.ranges import Ranges
from imagenet_captions.storage.remote import RemotePath
from tests.chain import run_cli
from tests.storage.conftest import SECRET, Bucket, aws_environment, invoke

SAMPLE = SAMPLE_FOLDER / "release.json"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("work/out", "work/out"),
        ("/data/a b", "/data/a b"),
        ("file:///data/a%20b", "/data/a b"),
        ("file://localhost/data", "/data"),
        ("C:/data", "C:/data"),
        ("odd:name", "odd:name"),
    ],
)
def test_what_is_on_this_machine_is_a_path(given: str, path: str) -> None:
    assert place(given) == Path(path)
    assert place(Path(path)) == Path(path)


def test_names_are_those_of_pathlib() -> None:
    here, there = Path("/bucket/a/b.tar.gz"), place("memory://bucket/a/b.tar.gz")
    assert (there.name, there.suffix) == (here.name, here.suffix)
    assert str(there.parent) == "memory://bucket/a"
    assert str(there.with_suffix(".json")) == "memory://bucket/a/b.tar.json"
    assert str(there.with_name("c")) == "memory://bucket/a/c"
    assert str(there.parent / "x" / "y/z") == "memory://bucket/a/x/y/z"
    assert [str(parent) for parent in there.parents] == ["memory://bucket/a", "memory://bucket", "memory://"]
    assert there.relative_to(there.parent.parent).as_posix() == "a/b.tar.gz"
    assert there == place("memory://bucket//a/b.tar.gz/")
    assert there != here
    assert len({there, place("memory://bucket/a/b.tar.gz"), here}) == 2
    assert sorted([there, there.parent]) == [there.parent, there]


def test_a_place_travels_to_workers_unless_they_cannot_see_it(server: str) -> None:
    there = place("s3://bucket/a")
    assert pickle.loads(pickle.dumps(there)) == there
    with pytest.raises(InputError, match="in the memory of one process"):
        pickle.dumps(place("memory://bucket/a"))


def test_a_url_is_never_a_file_of_this_machine() -> None:
    there = place("memory://bucket/a")
    with pytest.raises(TypeError):
        open(there)  # noqa: PTH123, SIM115
    with pytest.raises(ValueError, match="written whole"):
        there.open("w")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://AKIA:sesame@bucket/x", "s3://***@bucket/x"),
        ("s3://AKIA:se/sa@me@bucket/x", "***@bucket/x"),
        ("https://h/x.zip?X-Amz-Signature=sesame&part=1", "https://h/x.zip?X-Amz-Signature=***&part=1"),
        ("https://h/x?part=1&X-Goog-Credential=sesame", "https://h/x?part=1&X-Goog-Credential=***"),
        ("https://h/x?sv=1&sig=sesame", "https://h/x?sv=1&sig=***"),
        ("https://h/x?access_token=sesame#a", "https://h/x?access_token=***#a"),
        ("https://h/x?AWSAccessKeyId=sesame&Signature=sesame", "https://h/x?AWSAccessKeyId=***&Signature=***"),
    ],
)
def test_credentials_in_a_url_are_refused_and_not_shown(url: str, shown: str) -> None:
    with pytest.raises(InputError, match="holds credentials") as caught:
        place(url)
    assert shown in str(caught.value)
    assert "sesame" not in str(caught.value)
    assert "sesame" not in redacted(f"see {url} there")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("foo://bucket/x", "no kind of URL"),
        ("simplecache::s3://bucket/x", "chains several"),
        ("tosfs://bucket/x", "package that is not installed|no kind of URL"),
    ],
)
def test_urls_that_nothing_reads(url: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        place(url)


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
    with pytest.raises(FileNotFoundError, match="does not exist"):
        (folder / "no").read_text()


def test_what_goes_wrong_while_writing_leaves_the_old_object(bucket: Bucket) -> None:
    there = place(f"{bucket.url}/x")
    with replacing(there) as new:
        new.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(there) as new:
        (new / "half").touch()
    assert bucket.files() == {"x": b"old"}


def test_reading_in_order_takes_few_requests_and_a_head_little() -> None:
    content = bytes(range(256)) * 200_000
    asked: list[int] = []

    def fetch(start: int, stop: int) -> bytes:
        asked.append(stop - start)
        return content[start:stop]

    reader = Ranges(fetch, len(content), "x")
    assert reader.read(512) == content[:512]
    assert asked == [1 << 16]
    read = [content[:512]]
    while block := reader.read(1000):
        read.append(block)
    assert b"".join(read) == content
    assert len(asked) < 15
    asked.clear()
    reader.seek(0)
    for _ in range(400):  # the headers of a tar
        reader.read(512)
        reader.seek(100_000, 1)
    assert len(asked) < 15
    exact = Ranges(fetch, len(content), "x", exact=True)
    asked.clear()
    exact.seek(1000)
    assert (exact.read(7), exact.tell(), asked) == (content[1000:1007], 1007, [7])


def test_a_server_without_ranges_is_told_from_one_with() -> None:
    reader = Ranges(lambda start, stop: b"the whole file", 14, "https://host/x", exact=True)
    with pytest.raises(InputError, match="does not give parts of a file"):
        reader.read(5)


MISTAKES = [
    (["verify", "s3://no-such-bucket-here/x"], "no manifest.json"),
    (["build", "--release", "{bucket}/no.json", "--out", "{tmp}/x"], "no.json does not exist"),
    (["clean", "--release", "{sample}", "--out", "s3://no-such-bucket-here/y"], "or its bucket does not"),
    (["verify", "s3://AKIA:{secret}@bucket/x"], "holds credentials"),
    (["match", "--urls", "https://host/x?X-Amz-Signature={secret}"], "holds credentials"),
    (["verify", "gs://bucket/x"], "gs:// needs a package"),
    (["build", "--release", "{sample}", "--out", "{bucket}/x", "--work", "{bucket}/work"], "need a disk"),
    (["crawl", "--matches", "{bucket}/m.parquet", "--store", "{bucket}/photos.sqlite"], "SQLite works on files"),
    (["crawl", "--key-file", "{bucket}/key", "--store", "{tmp}/s", "--matches", "{matches}"], "does not travel"),
    (["build", "--release", "{sample}", "--out", "{bucket}"], "whole bucket"),
    (["demo", "--out", "{bucket}/demo"], "is a URL"),
]


@pytest.mark.parametrize(("arguments", "says"), MISTAKES)
def test_a_mistake_is_one_sentence(arguments: list[str], says: str, bucket: Bucket, tmp_path: Path) -> None:
    if "gs://" in arguments[-1] and importlib.util.find_spec("gcsfs"):
        pytest.skip("gcsfs is installed")
    matches = tmp_path / "matches.parquet"
    pq.write_table(MATCHES.empty_table(), matches)
    names = {"bucket": bucket.url, "tmp": tmp_path, "secret": SECRET, "sample": SAMPLE, "matches": matches}
    code, said = invoke(*(argument.format(**names) for argument in arguments))
    assert code == 2, said
    assert says in said
    sentences = [line for line in said.splitlines() if line != "clean ..."]
    assert len(sentences) == 1, said
    assert sentences[0].startswith("imagenet-captions: ")
    assert SECRET not in said
    assert bucket.files() == {}


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "EndpointConnectionError"),
        ({"AWS_ENDPOINT_URL": "nonsense"}, "cannot be used: ValueError"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials for s3://bucket/x"),
    ],
)
def test_an_endpoint_that_does_not_answer(server: str, environment: dict[str, str], says: str, tmp_path: Path) -> None:
    nowhere = {"AWS_CONFIG_FILE": str(tmp_path / "no"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no")}
    told = run_cli("verify", "s3://bucket/x", **{**aws_environment(), **nowhere, **environment})
    assert told.returncode == 2
    assert says in told.stderr
    assert len(told.stderr.splitlines()) == 1
    assert SECRET not in told.stderr


def test_denied_access_is_told_without_the_key(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    def denied(*args: object, **kwargs: object) -> object:
        answer = {"Error": {"Code": "AccessDenied", "Message": f"{SECRET} may not"}}
        raise PermissionError(13, SECRET) from ClientError(answer, "GetObject")

    there = place("s3://bucket/x")
    assert isinstance(there, RemotePath)
    monkeypatch.setattr(there.system, "cat_file", denied)
    with pytest.raises(InputError, match=r"access to s3://bucket/x is denied \(AccessDenied\)") as caught:
        there.read_bytes()
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
