"""The store: what it keeps, whom it lets in, what it says when it cannot go on, and rows that no crawl has written."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.cleaner.clean import CleanSettings, clean
from imagenet_captions.crawler.crawl import CrawlSettings, crawl
from imagenet_captions.crawler.policy import LARGEST_ANSWER, State
from imagenet_captions.crawler.source import CrawlSource, answered_photos
from imagenet_captions.crawler.store import Stored, open_store, read_store, store_revision
from imagenet_captions.demo.flickr_stand_in import failure
from imagenet_captions.errors import DiskFullError, InputError
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.outcomes import outcomes_path
from tests.crawler.crawl_tools import World, attempt, ok, write_matches

OK, GONE = json.dumps(ok("7")).encode(), json.dumps(failure(1, "Photo not found")).encode()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work" / "photos.sqlite"


def read(path: Path, *photo_ids: str) -> dict[str, Stored]:
    with read_store(path) as reader:
        return {photo_id: stored for photo_id in photo_ids if (stored := reader.get(photo_id))}


def save(path: Path) -> None:
    with open_store(path) as store:
        store.save_answer("7", State.OK, OK, 1)


def sql(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def test_an_answer_is_kept_exactly_as_it_came(path: Path) -> None:
    odd = OK.replace(b"photo 7", b"\xff\x00\xe9") + b" \n"
    with open_store(path) as store:
        store.save_answer("7", State.OK, OK, 1_700_000_000)
        store.save_answer("8", State.OK, odd, 1)
    assert read(path, "7", "9") == {"7": Stored(State.OK, "", OK, ok("7")["photo"], 1_700_000_000)}
    with closing(sqlite3.connect(path)) as connection:
        (blob,) = connection.execute("SELECT answer FROM photos WHERE photo_id = '8'").fetchone()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert zlib.decompress(blob) == odd


def test_failures_never_touch_an_answer(path: Path) -> None:
    with open_store(path) as store:
        store.save_answer("7", State.OK, OK, 5)
        store.save_failure("7", State.UNREACHABLE, "HTTP 500")
        store.save_failure("8", State.WAITING, "HTTP 500")
        store.save_failure("8", State.UNREACHABLE, "HTTP 503")
        assert (store.failures("7"), store.failures("8"), store.failures("9")) == (1, 2, 0)
        assert store.get("8") == Stored(State.UNREACHABLE, "HTTP 503")
        store.save_answer("8", State.NOT_FOUND, GONE, 6)
        assert store.failures("8") == 0
    assert read(path, "7", "8") == {
        "7": Stored(State.OK, "", OK, ok("7")["photo"], 5),
        "8": Stored(State.NOT_FOUND, "Photo not found", GONE, None, 6),
    }


def test_moments_survive_and_answers_change_the_revision(path: Path) -> None:
    with open_store(path) as store:
        assert store.moments() == (None, None)
        first = store_revision(path)
        store.save_call(12.5)
        store.save_pause(99.0)
        assert store_revision(path) == first
        store.save_answer("7", State.OK, b"{}", 1)
    assert store_revision(path) != first
    with open_store(path) as store:
        assert store.moments() == (12.5, 99.0)
    with open_store(path.with_name("other.sqlite")):
        assert store_revision(path.with_name("other.sqlite")) != first


def test_a_second_crawl_is_refused_under_every_name_of_the_store(path: Path) -> None:
    link, top = path.parent.parent / "link.sqlite", path.parent.parent
    link.symlink_to(path)
    (top / "folder").symlink_to(path.parent.name)
    with open_store(link) as store:  # made where the link leads
        store.save_answer("7", State.OK, OK, 1)
        for name in (path, link, top / "folder" / path.name, Path(os.path.relpath(path))):
            with pytest.raises(InputError, match=r"the store .* is in use"), open_store(name):
                pass
            assert set(read(name, "7")) == {"7"}
    read(path, "7")
    assert sorted(file.name for file in path.parent.iterdir()) == ["photos.sqlite", "photos.sqlite.lock"]


def test_a_read_only_folder_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path)
    path.parent.chmod(0o555)
    monkeypatch.setattr("os.access", lambda *_: False)  # as for others than root
    try:
        assert set(read(path, "7")) == {"7"}
    finally:
        path.parent.chmod(0o755)


def test_other_files_are_refused_and_left_alone(path: Path) -> None:
    save(path)
    sql(path, "PRAGMA user_version = 99")
    other, text = path.with_name("other.sqlite"), path.with_name("notes.txt")
    sql(other, "CREATE TABLE bookmarks (url TEXT)")
    text.write_text("these are my notes, no database\n" * 100)
    for file, words in (
        (path, r"newer version \(schema 99, this one reads 1\)"),
        (other, "another application's database"),
        (text, "cannot be used .file is not a database"),
    ):
        before = file.read_bytes()
        for use in (open_store, read_store):
            with pytest.raises(InputError, match=words), use(file):
                pass
        assert file.read_bytes() == before
    for folder in (path.parent, Path("/")):
        with pytest.raises(InputError, match="is a folder; give the file itself"), open_store(folder):
            pass
    assert not path.parent.with_name(f"{path.parent.name}.lock").exists()
    with pytest.raises(InputError, match="does not exist"), read_store(path.with_name("nowhere.sqlite")):
        pass


def test_a_full_disk_loses_nothing(path: Path) -> None:
    saved = []
    full = r"the disk of the store .* is full .*; make room"
    with pytest.raises(DiskFullError, match=full), open_store(path) as store:  # noqa: PT012
        store._connection.execute("PRAGMA max_page_count = 60")
        for number in range(1000):
            store.save_answer(str(number), State.OK, os.urandom(3000), 1)
            saved.append(str(number))
    assert 20 < len(saved) < 300
    with open_store(path) as store:
        assert [photo_id for photo_id, _ in store.photos()] == saved
        store.save_answer("more", State.OK, b"{}", 1)
    assert set(read(path, *saved, "more")) == {*saved, "more"}


# Rows that no crawl has written: cleaning counts them, and the next crawl asks again.


def packed(answer: object) -> bytes:
    return zlib.compress(answer if isinstance(answer, bytes) else json.dumps(answer).encode())


WHOLE = packed(ok("7"))
DAMAGE: list[tuple[str, object]] = [
    *[("answer", value) for value in (None, 7, WHOLE[:-1], packed(b""), packed(ok("8")))],
    ("answer", packed(failure(1, "Photo not found"))),
    ("answer", packed(OK[:-1] + b', "x": "' + b"x" * LARGEST_ANSWER + b'"}')),
    *[("state", value) for value in ("banana", "damaged", b"\xff\xfe")],
    *[("retrieved_at", value) for value in (None, "yesterday", 253402300800)],
]


@pytest.fixture
def matches(tmp_path: Path) -> Path:
    return write_matches(tmp_path, ["5", "7", "9", "11", "7"])


@pytest.fixture
def store(path: Path) -> Path:
    with open_store(path) as opened:
        for photo_id in ("5", "7", "9"):
            answer = ok(photo_id, title={"_content": "A heron"}, owner={"nsid": "1@N01"})
            opened.save_answer(photo_id, State.OK, json.dumps(answer).encode(), 1_700_000_000)
        opened.save_answer("11", State.NOT_FOUND, GONE, 1_700_000_000)
    return path


def cleaned(matches: Path, store: Path) -> list[str]:
    """The outcome of every image."""
    out = matches.with_name("captions.parquet")
    counts = clean(CrawlSource(matches, store), out, CleanSettings(language=False), 1, overwrite=True)
    ends = dict.fromkeys(pq.read_table(out)["image_id"].to_pylist(), "kept")
    for row in pq.read_table(outcomes_path(out)).to_pylist():
        ends[row["image_id"]] = row["outcome"]
    assert sum(counts.values()) == len(ends)
    return [ends[image] for image in sorted(ends)]


def asked_again(matches: Path, store: Path, **settings: Any) -> list[str]:
    world = World(lambda photo_id: attempt(ok(photo_id, title="A heron")))
    assert crawl(matches, store, CrawlSettings(**settings), world.tools()).left == 0
    return [photo_id for _, photo_id in world.calls]


@pytest.mark.parametrize(("column", "value"), DAMAGE)
def test_a_damaged_answer(matches: Path, store: Path, column: str, value: object) -> None:
    sql(store, f"UPDATE photos SET {column} = ? WHERE photo_id = '7'", value)
    assert cleaned(matches, store) == ["kept", "bad_record", "kept", "not_found", "bad_record"]
    assert answered_photos(store).to_pylist() == ["5", "9", "11"]
    assert asked_again(matches, store) == ["7"]
    assert cleaned(matches, store) == ["kept", "kept", "kept", "not_found", "kept"]
    assert asked_again(matches, store) == []


def test_what_else_meets_a_damaged_answer(matches: Path, store: Path) -> None:
    sql(store, "UPDATE photos SET answer = X'00' WHERE photo_id = '7'")
    source = CrawlSource(matches, store, elsewhere=lambda: pa.array(["7"]))
    assert [row["photo_id"] for batch in source.batches() for row in batch.to_pylist()] == ["5", "9"]
    world = World(lambda photo_id: attempt(failure(105, "Service currently unavailable")))
    assert crawl(matches, store, CrawlSettings(), world.tools(), elsewhere=pa.array(["7"])).calls == 0
    report = crawl(matches, store, CrawlSettings(tries=2), world.tools())
    assert (report.unreachable, report.left) == (1, 1)
    assert cleaned(matches, store)[1] == "bad_record"  # it cannot be had again
    assert asked_again(matches, store, refresh_days=0, deny=Denylist(owners=("1@n01",))) == ["7"]
