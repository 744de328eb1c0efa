"""YFCC100M's metadata: every form gives the same records, and every input ends in one outcome."""

from __future__ import annotations

import bz2
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.schema import RAW
from imagenet_captions.sources.yfcc import YfccSource, extract_photos, photo_ids
from imagenet_captions.storage import texts
from tests.crawler.crawl_tools import write_matches
from tests.sources.made_yfcc import CC, FORMS, line, row, text, write

ROWS = [
    row("7", "C++ & 100%", description='At <b>dawn</b>, see <a href="http://x.org">this</a>', tags="heron,grey heron"),
    row("1", "not wanted"),
    row("33", "a video", marker="1", license_url="https://www.creativecommons.org/licenses/BY/2.0"),
    row("14200000000", "Graureiher ü", tags="newyorkcity,heron", license_url=f"{CC}/by-nc-sa/2.0/"),
    row("8", "", tags="", date_taken="null", date_posted="", license_url=f"{CC}/by/3.0/", photo_page=""),
]
MATCHED = ["14200000000", "7", "33", "99", "7", "8"]


def rows_of(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def ended(source: YfccSource) -> list[tuple[str | None, str, str | None, int]]:
    return [(row["image_id"], row["outcome"], row["detail"], row["count"]) for row in rows_of(source.drops)]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_records(tmp_path: Path, form: str) -> None:
    matches = write_matches(tmp_path, MATCHED, [("n01440764_90", "no_url")])
    path = write(tmp_path, form, ROWS)
    source = YfccSource(path, matches)
    batches = list(source.batches())
    assert all(batch.schema.equals(RAW) for batch in batches)
    records = sorted(rows_of(batches), key=lambda record: str(record["image_id"]))
    assert [record["image_id"] for record in records] == [f"n01440764_{n}" for n in (0, 1, 2, 4, 5)]
    german, first, still, second, bare = records
    assert (still["title"], still["detail"], still["license"]) == ("a video", "a still of a video", 4)
    assert first == {
        "image_id": "n01440764_1",
        "wnid": "n01440764",
        "title": "C++ & 100%",
        "description": 'At <b>dawn</b>, see <a href="http://x.org">this</a>',
        "tags": ["heron", "grey heron"],
        "photo_id": "7",
        "owner": "11632020@N00",
        "owner_name": "Hans",
        "license": 4,
        "date_taken": datetime(2010, 7, 16, 20, 47, 2),
        "date_posted": datetime.fromtimestamp(1279341000, timezone.utc),
        "photo_page": "http://www.flickr.com/photos/11632020@N00/7/",
        "source": "yfcc100m",
        "retrieved_at": None,
        "detail": None,
    }
    assert second == {**first, "image_id": "n01440764_4"}
    assert (german["title"], german["license"]) == ("Graureiher ü", 1)
    assert german["detail"] == "tags in Flickr's normalized form"
    assert (bare["title"], bare["tags"], bare["license"], bare["date_taken"], bare["date_posted"]) == (
        ("", [], None, None, None)
    )
    assert bare["photo_page"] == "https://www.flickr.com/photos/11632020@N00/8/"
    assert ended(source) == [
        ("n01440764_90", "no_url", None, 1),
        ("n01440764_3", "not_asked", "YFCC100M does not have it, and Flickr was not asked", 1),
    ]
    assert sorted(source.photo_ids().to_pylist()) == ["14200000000", "33", "7", "8"]
    assert set(source.inputs) == {"matches", "yfcc100m"}


def test_the_digest_is_that_of_what_was_used(tmp_path: Path) -> None:
    matches = write_matches(tmp_path, MATCHED)

    def digest(name: str, form: str, rows: list[dict[str, str]]) -> str:
        (tmp_path / name).mkdir()
        source = YfccSource(write(tmp_path / name, form, rows), matches)
        assert list(source.batches())
        return source.inputs["yfcc100m"]

    first = digest("1", "plain", ROWS)
    assert digest("2", "bz2", ROWS) == digest("3", "old", ROWS) == digest("4", "sqlite no index", ROWS) == first
    assert digest("5", "plain", [*ROWS, row("1000")]) == first
    assert digest("6", "plain", [*ROWS[:-1], row("8", "another title")]) != first


@pytest.mark.parametrize("form", ["bz2", "sqlite"])
def test_an_extract_stands_for_the_file(tmp_path: Path, form: str) -> None:
    matches = write_matches(tmp_path, MATCHED)
    path, out = write(tmp_path, form, ROWS), tmp_path / "yfcc.parquet"
    assert extract_photos(path, matches, out) == 4
    whole, part = YfccSource(path, matches), YfccSource(out, matches)
    assert rows_of(whole.batches()) == rows_of(part.batches())
    assert ended(whole) == ended(part)
    assert whole.inputs == part.inputs
    assert sorted(photo_ids(out, matches).to_pylist()) == sorted(photo_ids(path, matches).to_pylist())


def test_bad_lines_are_counted(tmp_path: Path) -> None:
    lines = [line(number, values) for number, values in enumerate(ROWS)]
    bad = [
        "",
        "\r",
        "7",
        lines[0].replace("\t", " ", 2),  # 23 fields, and the first one is a number
        lines[0] + "\t",
        lines[0].replace("\t7\t", "\t07\t"),
        lines[0].replace("\t7\t", "\t" + "9" * 30 + "\t"),
    ]
    path = tmp_path / "yfcc100m_dataset"
    path.write_bytes("\n".join([*lines[:2], *bad, lines[3] + "\r"]).encode() + b"\n\xff\xfe\x00\x01 binary")
    source = YfccSource(path, write_matches(tmp_path, ["7", "14200000000"]))
    assert sorted(record["photo_id"] for record in rows_of(source.batches())) == ["14200000000", "7"]
    assert ended(source) == [(None, "bad_record", "YFCC100M: lines that cannot be read, the first is line 5", 6)]


def test_the_sqlite_file_may_hold_any_type_and_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "read-only"
    folder.mkdir()
    path = write(folder, "sqlite", [row("7")])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE yfcc100m_dataset SET title = NULL, description = X'C3BC', marker = 0")
        connection.execute("UPDATE yfcc100m_dataset SET usertags = CAST(X'EDA080' AS TEXT)")  # half of a pair
        connection.commit()
    before = path.read_bytes()
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        (record,) = rows_of(YfccSource(path, write_matches(tmp_path, ["7"])).batches())
        assert list(folder.iterdir()) == [path]
    finally:
        folder.chmod(0o755)
    assert path.read_bytes() == before
    assert (record["title"], record["description"], record["tags"]) == ("", "ü", ["\ufffd\ufffd\ufffd"])


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty", b"", "is empty"),
        ("hash", b"1\tabc\n2\tdef\n", "no line has 25 or 23 fields"),
        ("short.bz2", bz2.compress(text(ROWS))[:-20], "is damaged"),
        ("broken.sql", b"SQLite format 3\0" + b"x" * 200, "cannot be read"),
    ],
)
def test_what_is_no_metadata_is_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    matches = write_matches(tmp_path, MATCHED)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=sentence):
        extract_photos(path, matches, tmp_path / "yfcc.parquet")
    assert sorted(tmp_path.iterdir()) == before


def test_other_files_are_refused_in_words(tmp_path: Path) -> None:
    matches = write_matches(tmp_path, MATCHED)
    for name, created, says in (
        ("other.sql", "yfcc100m_hash (photoid integer)", "no such table: yfcc100m_dataset"),
        ("less.sql", "yfcc100m_dataset (photoid integer)", "no such column: uid"),
    ):
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute(f"CREATE TABLE {created}")
        with pytest.raises(InputError, match=says):
            photo_ids(tmp_path / name, matches)
    with pytest.raises(InputError, match="not one that extract-yfcc wrote"):
        photo_ids(matches, matches)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="has no file called yfcc100m_dataset"):
        photo_ids(tmp_path / "folder", matches)


TEXT = st.text(st.characters(codec="utf-8"), max_size=30)


@given(
    st.lists(
        st.tuples(st.integers(1, 40), TEXT, TEXT, st.lists(TEXT.filter(bool), max_size=3), st.sampled_from("01")),
        max_size=12,
        unique_by=lambda photo: photo[0],
    ),
    st.sampled_from([25, 23]),
    st.sampled_from([2000, 1 << 22]),
    st.sets(st.integers(1, 40)),
)
def test_lines_are_found_as_a_plain_reader_finds_them(
    tmp_path_factory: pytest.TempPathFactory,
    photos: list[tuple[int, str, str, list[str], str]],
    layout: int,
    block: int,
    wanted: set[int],
) -> None:
    rows = [row("1000", "always there")]
    for number, title, description, tags, marker in photos:
        joined = ",".join(tag.replace(",", "") for tag in tags)
        rows.append(row(str(number), title, description=description, tags=joined, marker=marker))
    folder = tmp_path_factory.mktemp("yfcc")
    path = folder / "yfcc100m_dataset"
    path.write_bytes(text(rows, layout)[: -1 if len(rows) % 2 else None])
    source = YfccSource(path, write_matches(folder, list(map(str, sorted(wanted)))))
    with patch.object(texts, "BLOCK", block):
        found = rows_of(source.batches())
    told = [(record["photo_id"], record["title"], record["description"]) for record in found]
    expected = [photo for photo in photos if photo[0] in wanted]
    assert told == [(str(number), title, description) for number, title, description, _, _ in expected]
    stills = [(record["detail"] or "").startswith("a still") for record in found]
    assert stills == [marker == "1" for _, _, _, _, marker in expected]
    assert {outcome for _, outcome, _, _ in ended(source)} <= {"not_asked"}
