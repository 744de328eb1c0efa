"""The crawl as a source: every matched image becomes a record or a counted drop."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions import schema as records
from imagenet_captions.crawler.crawl import CrawlSettings, crawl
from imagenet_captions.crawler.policy import State
from imagenet_captions.crawler.source import CrawlSource, parse_photo
from imagenet_captions.crawler.store import open_store
from imagenet_captions.demo.flickr_stand_in import failure
from tests.crawler.crawl_tools import World, attempt, ok, write_matches

FULL = {
    "id": "7",
    "license": "4",
    "owner": {"nsid": "12345678@N00", "username": "heron watcher", "path_alias": None},
    "title": {"_content": "A heron & <b>a</b> fox"},
    "description": {"_content": '<a href="https://example.org">here</a> &amp; there\n'},
    "dates": {"posted": "1200000000", "taken": "2008-01-10 12:00:01", "takenunknown": "0"},
    "tags": {"tag": [{"raw": "New York", "_content": "newyork"}, {"raw": "geo:lat=1", "machine_tag": 1}, {"raw": ""}]},
    "urls": {"url": [{"type": "photopage", "_content": "https://www.flickr.com/photos/heron/7/"}]},
    "media": "photo",
}


def rows(batches: Any) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def test_a_record_holds_the_texts_as_they_came(tmp_path: Path) -> None:
    matches, store = write_matches(tmp_path, ["7"]), tmp_path / "photos.sqlite"
    crawl(matches, store, CrawlSettings(), World(lambda _: attempt({"photo": FULL, "stat": "ok"})).tools())
    (batch,) = CrawlSource(matches, store).batches()
    assert batch.schema.equals(records.RAW)
    assert batch.to_pylist() == [
        {
            "image_id": "n01440764_0",
            "wnid": "n01440764",
            "title": "A heron & <b>a</b> fox",
            "description": '<a href="https://example.org">here</a> &amp; there\n',
            "tags": ["New York", "geo:lat=1", ""],
            "photo_id": "7",
            "owner": "12345678@N00",
            "owner_name": "heron watcher",
            "license": 4,
            "date_taken": datetime(2008, 1, 10, 12, 0, 1),
            "date_posted": datetime(2008, 1, 10, 21, 20, tzinfo=timezone.utc),
            "photo_page": "https://www.flickr.com/photos/heron/7/",
            "source": "flickr",
            "retrieved_at": datetime(2023, 11, 14, 22, 30, tzinfo=timezone.utc),
            "detail": None,
        }
    ]


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("license", ["0", 0], 0),
        ("license", [None, "", "x", -1, 200, [], {}, "①", True, 1.5], None),
        ("title", [None, "", {}, {"_content": None}, [], {"_content": ["x"]}], ""),
        ("title", [42, {"_content": "42"}], "42"),
        ("title", [{"_content": "half \ud83d pair"}], "half \ufffd pair"),
        ("tags", [None, "", {}, [], {"tag": None}, {"tag": []}, {"tag": [None, {}]}, 7], []),
        ("tags", [{"tag": {"raw": "one"}}, {"tag": ["one"]}, {"tag": [{"_content": "one"}]}], ["one"]),
    ],
)
def test_types_drift(field: str, values: list[Any], expected: Any) -> None:
    for value in values:
        found = getattr(parse_photo("7", {**FULL, field: value}), field)
        assert (list(filter(None, found)) if field == "tags" else found) == expected


@pytest.mark.parametrize(
    ("dates", "taken", "posted"),
    [
        ({"taken": "0000-00-00 00:00:00", "posted": 1200000000}, None, 1200000000),
        ({"taken": "1826-01-01 00:00:00", "posted": "99999999999999999999"}, datetime(1826, 1, 1), None),
        ({"taken": "2008-01-10 12:00:00", "takenunknown": 1}, None, 1100000000),
        ({"taken": "2008-02-31 12:00:00", "posted": -5}, None, None),
        (None, None, 1100000000),
    ],
)
def test_dates(dates: Any, taken: datetime | None, posted: int | None) -> None:
    record = parse_photo("7", {**FULL, "dates": dates, "dateuploaded": 1100000000})
    assert (record.date_taken, record.date_posted) == (taken, posted)


@pytest.mark.parametrize(
    ("owner", "urls", "page"),
    [
        ({"nsid": "1@N00"}, None, "https://www.flickr.com/photos/1@N00/7/"),
        ({"nsid": "1@N00"}, {"url": [{"type": "photopage", "_content": "javascript:x"}]}, "https://www.flickr.com/photos/1@N00/7/"),
        ("someone", [], None),
        (None, {"url": {"type": "photopage", "_content": "http://www.flickr.com/photos/a/7"}}, "http://www.flickr.com/photos/a/7"),
    ],
)  # fmt: skip
def test_photo_page(owner: Any, urls: Any, page: str | None) -> None:
    assert parse_photo("7", {**FULL, "owner": owner, "urls": urls}).photo_page == page


def test_every_image_ends_in_one_outcome(tmp_path: Path) -> None:
    ids = ["ok", "gone", "private", "video", "bad", "ok", "waiting", "never"]
    matches = write_matches(tmp_path, ids, [("n01440764_90", "no_url"), ("n01440764_91", "not_flickr")])
    store = tmp_path / "photos.sqlite"
    with open_store(store) as opened:
        for photo_id, state, answer in [
            ("ok", State.OK, ok("ok", dates={"posted": 1200000000}, license="4")),
            ("gone", State.NOT_FOUND, failure(1, "Photo not found")),
            ("private", State.PRIVATE, failure(2, "Permission denied")),
            ("video", State.OK, ok("video", media="video")),
        ]:
            opened.save_answer(photo_id, state, json.dumps(answer).encode(), 1_700_000_000)
        opened.save_failure("bad", State.UNREACHABLE, "code 105: Service currently unavailable")
        opened.save_failure("waiting", State.WAITING, "HTTP 500")
    source = CrawlSource(matches, store)
    kept = rows(source.batches())
    dropped = rows(source.drops)
    assert [(row["image_id"], row["title"], row["detail"]) for row in kept] == [
        ("n01440764_0", "photo ok", None),
        ("n01440764_3", "photo video", "a still of a video"),
        ("n01440764_5", "photo ok", None),
    ]
    assert [(row["image_id"][10:], row["outcome"], row["detail"], row["count"]) for row in dropped] == [
        ("90", "no_url", None, 1),
        ("91", "not_flickr", None, 1),
        ("1", "not_found", "Photo not found", 1),
        ("2", "private", "Permission denied", 1),
        ("4", "unreachable", "code 105: Service currently unavailable", 1),
        ("6", "unreachable", "HTTP 500", 1),
        ("7", "not_asked", None, 1),
    ]
    assert source.measured == {"survival": {"years": {"2008": [3, 5]}, "licenses": {"4": 2}}}


def test_digests_tell_what_was_answered_and_not_when(tmp_path: Path) -> None:
    matches = write_matches(tmp_path, ["7", "8"])

    def digest(name: str, title: str, retrieved_at: int, extra: str = "") -> dict[str, str]:
        with open_store(tmp_path / name) as opened:
            opened.save_answer("7", State.OK, json.dumps(ok("7", title=title)).encode(), retrieved_at)
            if extra:
                opened.save_answer(extra, State.OK, b"{}", 1)
        source = CrawlSource(matches, tmp_path / name)
        assert list(source.batches())
        return source.inputs

    first = digest("1.sqlite", "heron", 1)
    assert set(first) == {"matches", "crawl"}
    assert digest("2.sqlite", "heron", 2, extra="99") == first  # photo 99 is not among the matches
    assert digest("3.sqlite", "fox", 1) != first
    assert digest("4.sqlite", "heron", 1, extra="8") != first
