"""The published file, as it should be and as it should not."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.sources.release import ReleaseSource

GOOD: dict[str, Any] = {
    "filename": "n01440764_10026.JPEG",
    "wnid": "n01440764",
    "title": "A tench",
    "description": "caught <b>today</b>",
    "tags": ["fish", "Tinca tinca"],
}


def write(path: Path, entries: list[Any]) -> Path:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def read(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    source = ReleaseSource(path)
    rows = [row for batch in source.batches() for row in batch.to_pylist()]
    return rows, [row for batch in source.drops() for row in batch.to_pylist()]


def reasons(folder: Path, value: object) -> list[str]:
    """Why an entry between two good ones was dropped."""
    rows, drops = read(write(folder / "release.json", [GOOD, value, GOOD]))
    assert len(rows) == 2
    return [drop["detail"] for drop in drops]


def test_a_good_entry_comes_through_as_it_is(tmp_path: Path) -> None:
    rows, drops = read(write(tmp_path / "release.json", [GOOD]))
    assert drops == []
    (row,) = rows
    assert (row["image_id"], row["wnid"]) == ("n01440764_10026", "n01440764")
    assert (row["title"], row["description"], row["tags"]) == (GOOD["title"], GOOD["description"], GOOD["tags"])
    assert row["source"] == "release"
    assert row["owner"] is None
    assert row["retrieved_at"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"title": None}, "title is null, not text"),
        ({"title": 42}, "title is the number 42, not text"),
        ({"description": ["x"]}, "description is a list, not text"),
        ({"tags": "dog beach"}, "tags is text, not a list"),
        ({"tags": None}, "tags is null, not a list"),
        ({"tags": ["dog", 3]}, "tags holds the number 3, not only text"),
        ({"filename": 7}, "filename is the number 7, not text"),
        ({"filename": "../../x.JPEG"}, "filename '../../x.JPEG' is not of the form n01440764_10026.JPEG"),
        ({"filename": "n01440764.JPEG"}, "filename 'n01440764.JPEG' is not of the form n01440764_10026.JPEG"),
        ({"filename": "C:\\x.JPEG"}, "filename 'C:\\\\x.JPEG' is not of the form n01440764_10026.JPEG"),
        (
            {"filename": "n01440764_1\x00.JPEG"},
            "filename 'n01440764_1\\x00.JPEG' is not of the form n01440764_10026.JPEG",
        ),
        ({"wnid": "n02084071"}, "wnid 'n02084071' is not the one of the file name n01440764_10026"),
        ({"wnid": None}, "wnid is null, not text"),
    ],
)
def test_a_bad_field_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    assert reasons(tmp_path, {**GOOD, **change}) == [f"entry 2: {reason}"]


@pytest.mark.parametrize("name", list(GOOD))
def test_a_missing_field_is_named(tmp_path: Path, name: str) -> None:
    (reason,) = reasons(tmp_path, {key: value for key, value in GOOD.items() if key != name})
    assert reason.startswith(f"entry 2: {name} is missing")


@pytest.mark.parametrize("value", [None, 3, True, "text", ["list"], [[[{"title": {}}]]]])
def test_an_entry_that_is_no_object(tmp_path: Path, value: object) -> None:
    (reason,) = reasons(tmp_path, value)
    assert reason.endswith("not an object")


@pytest.mark.parametrize("number", ["1e999", "1" * 10_000])
def test_a_number_out_of_range_costs_one_entry(tmp_path: Path, number: str) -> None:
    path = tmp_path / "release.json"
    path.write_text(f'[{json.dumps(GOOD)}, {{"title": {number}}}, {json.dumps(GOOD)}]')
    rows, drops = read(path)
    assert len(rows) == 2
    assert [(drop["outcome"], drop["count"]) for drop in drops] == [("bad_record", 1)]
    assert drops[0]["detail"].startswith("entry 2: ")
    assert "out of range" in drops[0]["detail"]


def test_a_ten_megabyte_name_stays_out_of_the_message(tmp_path: Path) -> None:
    (reason,) = reasons(tmp_path, {**GOOD, "filename": "x" * 10_000_000})
    assert len(reason) < 200


def test_every_entry_ends_somewhere(tmp_path: Path) -> None:
    entries = [
        GOOD,
        {**GOOD, "title": None},
        {**GOOD, "filename": "n90000000_1.JPEG", "wnid": "n90000000"},
        {**GOOD, "filename": "n90000000_2.JPEG", "wnid": "n90000000"},
        {**GOOD, "filename": "n90000001_2.JPEG", "wnid": "n90000001"},
        "text",
    ]
    rows, drops = read(write(tmp_path / "release.json", entries))
    assert len(rows) + sum(row["count"] for row in drops) == len(entries)
    assert Counter({row["outcome"]: row["count"] for row in drops if row["wnid"] == "n90000000"}) == {
        "unknown_class": 2
    }
    assert [row["detail"] for row in drops if row["outcome"] == "bad_record"] == [
        "entry 2: title is null, not text",
        "entry 6: text, not an object",
    ]


UNUSABLE: list[tuple[dict[str, Any], str]] = [
    ({"title": None}, "title is null, not text"),
    ({"description": 42}, "description is the number 42, not text"),
    ({"tags": "dog beach"}, "tags is text, not a list"),
    ({"tags": [None, "dog", 3]}, "tags holds null, not only text"),
    ({"title": [], "tags": {}}, "title is a list, not text; tags is an object, not a list"),
]


@pytest.mark.parametrize(("change", "detail"), UNUSABLE)
def test_as_published_a_field_without_text_is_empty(tmp_path: Path, change: dict[str, Any], detail: str) -> None:
    path = write(tmp_path / "release.json", [{**GOOD, **change}])
    source = ReleaseSource(path, as_published=True)
    (row,) = [row for batch in source.batches() for row in batch.to_pylist()]
    assert [drop for batch in source.drops() for drop in batch.to_pylist()] == []
    empty = {"title": "", "description": "", "tags": ["dog"] if change.get("tags") == [None, "dog", 3] else []}
    for name in ("title", "description", "tags"):
        assert row[name] == (empty[name] if name in change else GOOD[name])
    assert row["detail"] == detail
    with pytest.raises(InputError, match="none of its 1 entries"):
        read(path)


def test_as_published_an_entry_without_fields_has_its_row_and_a_bad_one_none(tmp_path: Path) -> None:
    named = {"filename": GOOD["filename"], "wnid": GOOD["wnid"]}
    bad: list[Any] = [{**GOOD, "wnid": "n02084071", "title": None}, {**GOOD, "filename": 7}, {**GOOD, "wnid": None}, 3]
    source = ReleaseSource(write(tmp_path / "release.json", [GOOD, named, *bad]), as_published=True)
    rows = [row for batch in source.batches() for row in batch.to_pylist()]
    missing = "title is missing, not text; description is missing, not text; tags is missing, not a list"
    assert [row["detail"] for row in rows] == [None, missing]
    assert [row["detail"] for batch in source.drops() for row in batch.to_pylist()] == [
        "entry 3: wnid 'n02084071' is not the one of the file name n01440764_10026",
        "entry 4: filename is the number 7, not text",
        "entry 5: wnid is null, not text",
        "entry 6: the number 3, not an object",
    ]


def test_half_a_surrogate_pair_is_marked_and_loses_nothing_else(tmp_path: Path) -> None:
    half = {
        **GOOD,
        "title": "half \ud83d of it \U0001f41f \\ud83d",
        "description": "\udc1f\ud83d",
        "tags": ["a\ude00b"],
    }
    rows, drops = read(write(tmp_path / "release.json", [GOOD, half]))
    assert drops == []
    assert rows[1]["title"] == "half \ufffd of it \U0001f41f \\ud83d"
    assert (rows[1]["description"], rows[1]["tags"]) == ("\ufffd\ufffd", ["a\ufffdb"])


def test_the_zip_gives_what_the_file_gives(tmp_path: Path) -> None:
    plain = write(tmp_path / "imagenet_captions.json", [GOOD])
    packed = tmp_path / "imagenet_captions.zip"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(plain, "imagenet_captions.json")
        archive.writestr("__MACOSX/._imagenet_captions.json", b"junk")
    assert read(packed) == read(plain)
    assert ReleaseSource(packed).inputs() == ReleaseSource(plain).inputs()


def test_blanks_and_a_byte_order_mark_are_no_more_than_that(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_bytes(b"\xef\xbb\xbf\n " + json.dumps([GOOD]).encode() + b" \r\n\t" * (1 << 19))
    assert len(read(path)[0]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "none of its 0 entries"),
        (b"{}", "does not hold a JSON list"),
        (b'{"filename": 1}\n{"filename": 2}\n', "does not hold a JSON list"),
        (b"[]", "none of its 0 entries"),
        (b"[1, 2, 3]", r"none of its 3 entries has .*entry 1: the number 1"),
        (b'[{"image": "x.jpg", "caption": "a dog"}]', r"filename is missing, not text"),
        (json.dumps([GOOD]).encode()[:-20], r"is not one whole JSON list.*truncated"),
        (json.dumps([GOOD]).encode()[:-1], r"is not one whole JSON list.*truncated"),
        (json.dumps([GOOD]).encode().replace(b"}]", b"} {}]"), "is not one whole JSON list"),
        (json.dumps([GOOD]).encode() * 2, "trailing characters"),
        (json.dumps([GOOD]).encode() + b"\n" + json.dumps([GOOD, GOOD]).encode(), "trailing characters"),
        (json.dumps([GOOD]).encode() + b" " * (3 << 20) + b"]", "trailing characters"),
        (json.dumps([GOOD]).encode() + b"\0", "trailing characters"),
        (b"[] {}", "trailing characters"),
        (b"[" * 100_000, "recursion"),
        (b'[{"filename": "\xff\xfe"}]', "is not UTF-8"),
        (b'[{"filename": null, "title": "\xff"}]', "is not UTF-8"),
        (json.dumps([GOOD]).encode()[:-1] + b", NaN]", r"is not one whole JSON list"),
        (b"[" + b"1, " * (12 << 20), r"an entry of over 32 MB"),
        (b"\x89PNG\r\n\x1a\n", "does not hold a JSON list"),
    ],
)
def test_a_file_that_is_not_the_release_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(path)


def test_zips_that_are_not_the_release(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"nothing here")
    with pytest.raises(InputError, match=r"holds 0 of them \(in it: 'readme.txt'\)"):
        read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imagenet_captions.json", json.dumps([GOOD] * 2000))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="is not a whole zip file"):
        read(path)


def test_a_zip_with_a_remark_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "release.zip", "w") as archive:
        archive.writestr("imagenet_captions.json", json.dumps([GOOD]))
        archive.comment = b"packed for a friend"
    assert len(read(tmp_path / "release.zip")[0]) == 1


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "release.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("imagenet_captions.json", json.dumps([GOOD] * 2000))
    damaged = path.read_bytes().replace(b"A tench", b"B tench", 3)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="is damaged"):
        read(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the release .*nothing.json does not exist"):
        ReleaseSource(tmp_path / "nothing.json")


@pytest.mark.parametrize("size", [3, 50, 1000])
def test_entries_that_straddle_a_read_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("imagenet_captions.sources.release.READ_BYTES", size)
    odd = ["\u00e9}]", "}, {", '"} ], \\', "{{{", "\U0001f41f\ud83d", "}" * 100]
    entries = [{**GOOD, "title": title, "more": {"a": [{}, {"b": "}"}]}} for title in odd]
    path = tmp_path / "release.json"
    for ascii_only in (True, False):
        text = json.dumps([entries[0], None, *entries, 12345, [], *entries], ensure_ascii=ascii_only, indent=1)
        path.write_bytes(b"\xef\xbb\xbf " + text.encode("utf-8", "replace") + b" \r\n")
        rows, drops = read(path)
        half = "\U0001f41f\ufffd" if ascii_only else "\U0001f41f?"
        assert [row["title"] for row in rows] == [odd[0], *[*odd[:4], half, odd[5]] * 2]
        assert [drop["detail"].partition(":")[0] for drop in drops] == ["entry 2", "entry 9", "entry 10"]
