"""Rows that no crawl has written: each is counted and named by cleaning, and asked for again by the next crawl."""

from __future__ import annotations

import json
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
from imagenet_captions.crawler.store import Store, StoreReader, store_revision
from imagenet_captions.demo.flickr_stand_in import failure
from imagenet_captions.flickr.denylist import Denylist
from imagenet_captions.outcomes import outcomes_path
from tests.command_line import run_cli
from tests.crawler import crawl_tools
from tests.crawler.crawl_tools import World, attempt, write_matches

PHOTOS = ["5", "7", "9", "11"]


def ok(photo_id: str) -> dict[str, Any]:
    return crawl_tools.ok(photo_id, title={"_content": "A heron"}, owner={"nsid": "1@N01"})


def packed(answer: object) -> bytes:
    return zlib.compress(answer if isinstance(answer, bytes) else json.dumps(answer).encode())


WHOLE = packed(ok("7"))
FLIPPED = WHOLE[:20] + bytes([WHOLE[20] ^ 8]) + WHOLE[21:]

ANSWERS: list[object] = [
    None, b"", b"\x00", "a text", 7, 1.5, WHOLE[:-1], WHOLE[:10], FLIPPED,
    packed(b""), packed(b"<html>"), packed(b'{"photo": {"id": "7"'), packed({}), packed([]), packed("ok"),
    packed(ok("8")), packed({"photo": [], "stat": "ok"}), packed({"photo": {"id": "7"}}),
    packed(failure(1, "Photo not found")), packed(failure(105, "Service currently unavailable")),
    packed(b'{"photo": {"id": "7"}, "stat": "ok", "x": "' + b"x" * LARGEST_ANSWER + b'"}'),
]  # fmt: skip
STATES: list[object] = ["banana", "", "OK", "damaged", 5, b"ok", b"\xff\xfe"]
DATES: list[object] = [None, "yesterday", "", -1, 1e300, 253402300800, b"\x00", 1.5]


@pytest.fixture
def matches(tmp_path: Path) -> Path:
    return write_matches(tmp_path, [*PHOTOS, "7"])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "photos.sqlite"
    with Store(path) as opened:
        for photo_id in ("5", "7", "9"):
            opened.save_answer(photo_id, State.OK, json.dumps(ok(photo_id)).encode(), 1_700_000_000)
        opened.save_answer("11", State.NOT_FOUND, json.dumps(failure(1, "Photo not found")).encode(), 1_700_000_000)
    return path


def sql(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement, values)
        connection.commit()


def cleaned(matches: Path, store: Path) -> dict[str, tuple[str, str]]:
    """The outcome of every image and its detail."""
    out = matches.with_name("captions.parquet")
    counts = clean(CrawlSource(matches, store), out, CleanSettings(language=False), 1, overwrite=True)
    ends = dict.fromkeys(pq.read_table(out)["image_id"].to_pylist(), ("kept", ""))
    for row in pq.read_table(outcomes_path(out)).to_pylist():
        ends[row["image_id"]] = row["outcome"], row["detail"] or ""
    assert sum(counts.values()) == len(ends) == len(PHOTOS) + 1
    return {image.removeprefix("n01440764_"): end for image, end in ends.items()}


def asked_again(matches: Path, store: Path, **settings: Any) -> list[str]:
    world = World(lambda photo_id: attempt(ok(photo_id)))
    report = crawl(matches, store, CrawlSettings(**settings), world.tools())
    assert report.left == 0
    return [photo_id for _, photo_id in world.calls]


def check_damaged(matches: Path, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    ends = cleaned(matches, store)
    assert [ends[image][0] for image in "0123"] == ["kept", "bad_record", "kept", "not_found"]
    assert ends["4"] == ends["1"]
    assert ends["1"][1].startswith("the store's answer about photo 7 is damaged: ")
    assert "damaged answers in the store" in caplog.text
    assert ": 1, of photos 7" in caplog.text
    assert answered_photos(store).to_pylist() == ["5", "9", "11"]
    caplog.clear()
    assert asked_again(matches, store) == ["7"]
    assert "damaged answers in the store" in caplog.text
    ends = cleaned(matches, store)
    assert [ends[image][0] for image in "01234"] == ["kept", "kept", "kept", "not_found", "kept"]
    assert asked_again(matches, store) == []


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_damaged_answer(matches: Path, store: Path, caplog: pytest.LogCaptureFixture, answer: object) -> None:
    sql(store, "UPDATE photos SET answer = ? WHERE photo_id = '7'", answer)
    check_damaged(matches, store, caplog)


@pytest.mark.parametrize("state", STATES)
def test_an_unknown_state(matches: Path, store: Path, caplog: pytest.LogCaptureFixture, state: object) -> None:
    sql(store, "UPDATE photos SET state = ? WHERE photo_id = '7'", state)
    check_damaged(matches, store, caplog)


@pytest.mark.parametrize("date", DATES)
def test_a_bad_date(matches: Path, store: Path, caplog: pytest.LogCaptureFixture, date: object) -> None:
    sql(store, "UPDATE photos SET retrieved_at = ? WHERE photo_id = '7'", date)
    check_damaged(matches, store, caplog)


def test_text_that_is_not_utf8(matches: Path, store: Path, caplog: pytest.LogCaptureFixture) -> None:
    sql(store, "UPDATE photos SET state = CAST(X'6f6bff' AS TEXT) WHERE photo_id = '7'")
    sql(store, "INSERT INTO photos VALUES (CAST(X'37ff' AS TEXT), 'ok', X'00', 1, 1, 0, CAST(X'ff' AS TEXT))")
    check_damaged(matches, store, caplog)


def test_a_photo_that_was_never_reached_may_have_any_remark(matches: Path, store: Path) -> None:
    sql(store, "UPDATE photos SET state = 'unreachable', last_error = ?, failures = 'x' WHERE photo_id = '7'", b"\xff")
    assert cleaned(matches, store)["1"] == ("unreachable", r"b'\xff'")
    world = World(lambda photo_id: attempt(failure(105, "Service currently unavailable")))
    assert crawl(matches, store, CrawlSettings(tries=2), world.tools()).unreachable == 1


def test_a_damaged_answer_that_cannot_be_had_again_stays_damaged(matches: Path, store: Path) -> None:
    sql(store, "UPDATE photos SET answer = X'00' WHERE photo_id = '7'")
    world = World(lambda photo_id: attempt(failure(105, "Service currently unavailable")))
    for _ in range(2):
        report = crawl(matches, store, CrawlSettings(tries=2), world.tools())
        assert (report.unreachable, report.left) == (1, 1)
        assert cleaned(matches, store)["1"][0] == "bad_record"


def test_a_refresh_asks_for_each_photo_once(matches: Path, store: Path) -> None:
    sql(store, "UPDATE photos SET answer = X'00' WHERE photo_id = '7'")
    assert asked_again(matches, store, refresh_days=0) == ["7", "5", "9"]


def test_another_source_stands_in_for_a_damaged_answer(matches: Path, store: Path) -> None:
    sql(store, "UPDATE photos SET answer = X'00' WHERE photo_id = '7'")
    source = CrawlSource(matches, store, elsewhere=lambda: pa.array(["7"]))
    assert [row["photo_id"] for batch in source.batches() for row in batch.to_pylist()] == ["5", "9"]
    world = World(lambda photo_id: attempt(ok(photo_id)))
    assert crawl(matches, store, CrawlSettings(), world.tools(), elsewhere=pa.array(["7"])).calls == 0


def test_denied_owners_are_looked_for_in_sound_answers_alone(matches: Path, store: Path) -> None:
    sql(store, "UPDATE photos SET answer = ? WHERE photo_id = '7'", packed({"photo": ["x"], "stat": "ok"}))
    sql(store, "UPDATE photos SET answer = X'00' WHERE photo_id = '9'")
    assert asked_again(matches, store, deny=Denylist(owners=("1@n01",))) == ["7", "9"]


def test_the_names_of_many_are_not_all_written_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ids = [str(number) for number in range(100, 200)]
    matches, store = write_matches(tmp_path, ids), tmp_path / "photos.sqlite"
    with Store(store) as opened:
        for photo_id in ids:
            opened.save_answer(photo_id, State.OK, b"no answer", 1)
    list(CrawlSource(matches, store).batches())
    assert ": 100, of photos 100, 101, 102, 103, 104, …" in caplog.text


@pytest.mark.parametrize("command", ["clean", "crawl"])
def test_the_commands_go_on(matches: Path, store: Path, command: str) -> None:
    sql(store, "UPDATE photos SET answer = X'00' WHERE photo_id = '7'")
    places = ["--matches", matches, "--store", store]
    if command == "clean":
        done = run_cli("clean", *places, "--out", matches.with_name("captions.parquet"))
        assert (done.returncode, "bad_record" in done.stdout) == (0, True)
    else:
        done = run_cli("crawl", *places, "--limit", "0", FLICKR_API_KEY="k" * 32)
        assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "of photos 7" in done.stderr


def test_a_store_without_its_crawl_row(matches: Path, store: Path) -> None:
    before = store_revision(store)
    sql(store, "DELETE FROM crawl")
    without = store_revision(store)
    assert cleaned(matches, store)["0"][0] == "kept"
    sql(store, "UPDATE photos SET answer = X'00', attempts = attempts + 1 WHERE photo_id = '7'")
    assert len({before, without, store_revision(store)}) == 3
    assert asked_again(matches, store) == ["7"]
    with Store(store) as opened:
        assert opened.moments()[0] is not None
        seen = store_revision(store)
        opened.save_failure("99", State.WAITING, "HTTP 500")
    assert len({before, without, seen, store_revision(store)}) == 4


@pytest.mark.parametrize("moment", ["soon", b"\x00", float("inf"), -1e300, 1e300])
def test_a_crawl_row_with_odd_values(matches: Path, store: Path, moment: object) -> None:
    sql(store, "UPDATE crawl SET last_call = ?, pause_until = ?, revision = 'x'", moment, moment)
    sql(store, "UPDATE photos SET state = 'waiting' WHERE photo_id = '7'")
    store_revision(store)
    world = World(lambda photo_id: attempt(ok(photo_id)))
    start = world.now
    crawl(matches, store, CrawlSettings(), world.tools())
    assert len(world.calls) == 1
    assert world.calls[0][0] - start <= 3601
    with StoreReader(store) as reader:
        assert list(reader.ids([State.OK])) == ["5", "7", "9"]
