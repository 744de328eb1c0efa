"""The store: what it keeps, whom it lets in, and what it says when it cannot go on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from imagenet_captions.crawler.crawl import CrawlSettings, crawl
from imagenet_captions.crawler.policy import State
from imagenet_captions.crawler.store import Store, Stored, StoreReader, store_revision
from imagenet_captions.errors import DiskFullError, InputError
from tests.crawler.crawl_tools import write_matches


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work" / "photos.sqlite"


def read(path: Path, *photo_ids: str) -> dict[str, Stored]:
    with StoreReader(path) as reader:
        return {photo_id: stored for photo_id in photo_ids if (stored := reader.get(photo_id))}


def body(photo_id: str, title: str = "a heron") -> bytes:
    return json.dumps({"photo": {"id": photo_id, "title": title}, "stat": "ok"}).encode()


GONE = b'{"stat": "fail", "code": 1, "message": "Photo not found"}'


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def test_an_answer_is_kept_exactly_as_it_came(path: Path) -> None:
    odd = body("7", "TITLE").replace(b"TITLE", b"\xff\x00\xe9") + b" \n"
    with Store(path) as store:
        store.save_answer("7", State.OK, body("7"), 1_700_000_000)
        store.save_answer("8", State.OK, odd, 1)
    photo = {"id": "7", "title": "a heron"}
    assert read(path, "7", "9") == {"7": Stored(State.OK, "", body("7"), photo, 1_700_000_000)}
    with closing(sqlite3.connect(path)) as connection:
        (blob,) = connection.execute("SELECT answer FROM photos WHERE photo_id = '8'").fetchone()
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert zlib.decompress(blob) == odd


def test_failures_never_touch_an_answer(path: Path) -> None:
    with Store(path) as store:
        store.save_answer("7", State.OK, body("7"), 5)
        store.save_failure("7", State.UNREACHABLE, "HTTP 500")
        store.save_failure("8", State.WAITING, "HTTP 500")
        store.save_failure("8", State.UNREACHABLE, "HTTP 503")
        assert (store.failures("7"), store.failures("8"), store.failures("9")) == (1, 2, 0)
        assert list(store.ids([State.UNREACHABLE])) == ["8"]
        assert store.get("8") == Stored(State.UNREACHABLE, "HTTP 503")
        store.save_answer("8", State.NOT_FOUND, GONE, 6)
        assert store.failures("8") == 0
    assert read(path, "7", "8") == {
        "7": Stored(State.OK, "", body("7"), {"id": "7", "title": "a heron"}, 5),
        "8": Stored(State.NOT_FOUND, "Photo not found", GONE, None, 6),
    }


def test_only_older_answers_are_listed(path: Path) -> None:
    with Store(path) as store:
        for number in range(4):
            store.save_answer(str(number), State.OK, b"", number * 10)
        assert list(store.ids([State.OK], 20)) == ["0", "1"]
        assert len(list(store.ids([State.OK]))) == 4


def test_moments_survive(path: Path) -> None:
    with Store(path) as store:
        assert store.moments() == (None, None)
        store.save_call(12.5)
        store.save_pause(99.0)
    with Store(path) as store:
        assert store.moments() == (12.5, 99.0)


def test_the_revision_changes_with_every_answer(path: Path) -> None:
    seen = []
    with Store(path) as store:
        seen.append(store_revision(path))
        store.save_answer("7", State.OK, b"{}", 1)
        seen.append(store_revision(path))
        store.save_answer("7", State.OK, b"{}", 1)
        seen.append(store_revision(path))
        store.save_failure("8", State.WAITING, "HTTP 500")
    seen.append(store_revision(path))
    with Store(path) as store:
        store.save_call(1.0)
    assert len(set(seen)) == 4
    assert store_revision(path) == seen[-1]
    with Store(path.with_name("other.sqlite")):
        assert store_revision(path.with_name("other.sqlite")) != seen[0]


def test_a_second_crawl_is_refused_and_a_reader_is_not(path: Path) -> None:
    with Store(path) as store:
        store.save_answer("7", State.OK, b"{}", 1)
        with pytest.raises(InputError, match=r"the store .*photos\.sqlite is in use"):
            Store(path)
        assert set(read(path, "7")) == {"7"}
    with Store(path):
        pass


def other_names(path: Path) -> list[Path]:
    """Names of a store and of its folder that lead to the same file."""
    top = path.parent.parent
    (top / "link.sqlite").symlink_to(path)
    (top / "link to link").symlink_to("link.sqlite")
    (top / "folder").symlink_to(path.parent.name)
    links = [top / "link.sqlite", top / "link to link", top / "folder" / path.name]
    return [*links, path.parent / ".." / path.parent.name / path.name, Path(os.path.relpath(path))]


def test_a_second_crawl_is_refused_under_every_name_of_the_store(path: Path) -> None:
    with Store(path) as store:
        store.save_answer("7", State.OK, b"{}", 1)
        for name in other_names(path):
            with pytest.raises(InputError, match="is in use"):
                Store(name)
            assert set(read(name, "7")) == {"7"}
    for name in (path.parent.parent / "link.sqlite", path.parent.parent / "folder" / path.name):
        with Store(name), pytest.raises(InputError, match="is in use"):
            Store(path)


def test_a_link_to_a_store_that_is_not_there_yet_makes_it_where_it_leads(path: Path) -> None:
    link = path.parent.parent / "photos.sqlite"
    link.symlink_to(path)
    with Store(link) as store:
        store.save_answer("7", State.OK, b"{}", 1)
        with pytest.raises(InputError, match="is in use"):
            Store(path)
    assert link.is_symlink()
    assert set(read(path, "7")) == {"7"}
    assert sorted(file.name for file in path.parent.iterdir()) == ["photos.sqlite", "photos.sqlite.lock"]


def test_a_store_with_two_hard_links_is_refused(path: Path) -> None:
    with Store(path) as store:
        store.save_answer("7", State.OK, b"{}", 1)
    other = path.with_name("other.sqlite")
    other.hardlink_to(path)
    for name in (path, other):
        with pytest.raises(InputError, match=r"has 2 names \(hard links\).*copy"):
            Store(name)
    assert set(read(other, "7")) == {"7"}
    other.unlink()
    with Store(path):
        pass


def test_a_link_that_leads_to_itself_is_one_sentence(tmp_path: Path) -> None:
    for name, target in (("a", "b"), ("b", "a"), ("c", "c")):
        (tmp_path / name).symlink_to(target)
    for name in ("a", "c", "a/photos.sqlite"):
        with pytest.raises(InputError, match="too many levels of symbolic links"):
            crawl(write_matches(tmp_path, ["7"]), tmp_path / name, CrawlSettings())
        with pytest.raises(InputError, match=r"too many levels of symbolic links"):
            StoreReader(tmp_path / name)


def test_a_read_only_folder_is_read_through_a_link(path: Path) -> None:
    with Store(path) as store:
        store.save_answer("7", State.OK, b"{}", 1)
    link = path.parent.parent / "link.sqlite"
    link.symlink_to(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert set(read(link, "7")) == {"7"}
    finally:
        path.parent.chmod(0o755)


HOLD = """
import sys, time
from pathlib import Path
from imagenet_captions.crawler.policy import State
from imagenet_captions.crawler.store import Store
store = Store(Path(sys.argv[1]))
store.save_answer("7", State.OK, b"{}", 1)
print("held", flush=True)
time.sleep(60)
"""


def test_the_lock_and_the_answers_outlive_nothing_but_the_process(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="is in use"):
            Store(path)
        holder.kill()
    with Store(path) as store:
        assert list(store.ids([State.OK])) == ["7"]


def test_a_store_that_was_killed_can_be_read_first(path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    assert set(read(path, "7")) == {"7"}


def test_only_one_file_is_left_when_a_store_is_closed(path: Path) -> None:
    with Store(path) as store:
        store.save_answer("7", State.OK, b"{}", 1)
    read(path, "7")
    assert sorted(file.name for file in path.parent.iterdir()) == ["photos.sqlite", "photos.sqlite.lock"]


def test_a_newer_schema_is_refused(path: Path) -> None:
    with Store(path):
        pass
    sql(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    for use in (Store, StoreReader):
        with pytest.raises(InputError, match=r"newer version \(schema 99, this one reads 1\)"):
            use(path)
    assert path.read_bytes() == before


def test_other_files_are_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    sql(path, "CREATE TABLE bookmarks (url TEXT)")
    text = path.with_name("notes.txt")
    text.write_text("these are my notes, no database\n" * 100)
    for file, words in ((path, "another application's database"), (text, "cannot be used .file is not a database")):
        before = file.read_bytes()
        for use in (Store, StoreReader):
            with pytest.raises(InputError, match=words):
                use(file)
        assert file.read_bytes() == before
    with pytest.raises(InputError, match="is a folder"):
        Store(path.parent)
    with pytest.raises(InputError, match="does not exist"):
        StoreReader(path.with_name("nowhere.sqlite"))


def test_an_empty_store_has_nothing_to_read(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(InputError, match="is empty"):
        StoreReader(path)
    with Store(path):
        pass
    assert read(path) == {}


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    path, saved = small_disk / "photos.sqlite", []

    def fill(store: Store) -> None:
        for number in range(len(saved), 10_000):
            store.save_answer(str(number), State.OK, os.urandom(3000), 1)
            saved.append(str(number))

    with pytest.raises(DiskFullError, match=r"the disk of the store .* is full .*; make room"), Store(path) as store:
        fill(store)
    assert 20 < len(saved) < 300
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    with Store(path) as store:
        assert list(store.ids([State.OK])) == saved
        store.save_answer("more", State.OK, b"{}", 1)
    assert set(read(path, *saved, "more")) == {*saved, "more"}
