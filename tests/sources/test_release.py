"""The published file, as it should be and as it should not."""

from __future__ import annotations

import json
import zipfile
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
Rows = list[dict[str, Any]]


def write(path: Path, entries: list[Any]) -> Path:
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def read(path: Path, as_published: bool = False) -> tuple[Rows, Rows]:
    source = ReleaseSource(path, as_published=as_published)
    rows = [row for batch in source.batches() for row in batch.to_pylist()]
    return rows, [row for batch in source.drops for row in batch.to_pylist()]


def test_a_good_entry_comes_through_as_it_is(tmp_path: Path) -> None:
    (row,), drops = read(write(tmp_path / "release.json", [GOOD]))
    assert drops == []
    texts = {name: GOOD[name] for name in ("wnid", "title", "description", "tags")}
    assert {name: value for name, value in row.items() if value is not None} == {
        **texts,
        "image_id": "n01440764_10026",
        "source": "release",
    }


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({**GOOD, "title": None}, "Expected str, got null - at $.title"),
        ({**GOOD, "tags": "dog beach"}, "Expected array, got str - at $.tags"),
        ({**GOOD, "tags": ["dog", 3]}, "Expected str, got int - at $.tags[1]"),
        ({**GOOD, "filename": 7}, "Expected str, got int - at $.filename"),
        ({**GOOD, "filename": "../../x.JPEG"}, "filename '../../x.JPEG' is not of the form n01440764_10026.JPEG"),
        ({**GOOD, "filename": "x" * 10**7}, f"filename '{'x' * 79}…' is not of the form n01440764_10026.JPEG"),
        ({**GOOD, "wnid": "n02084071"}, "wnid 'n02084071' is not the one of the file name n01440764_10026"),
        ({"filename": GOOD["filename"]}, "Object missing required field wnid"),
        (None, "Expected object, got null"),
    ],
)
def test_a_bad_entry_is_dropped_with_its_reason(tmp_path: Path, entry: Any, reason: str) -> None:
    rows, (drop,) = read(write(tmp_path / "release.json", [GOOD, entry, GOOD]))
    assert len(rows) == 2
    has_id = isinstance(entry, dict) and entry.get("filename") == GOOD["filename"]
    expected = ("n01440764_10026", "n01440764") if has_id else (None, None)
    assert (drop["image_id"], drop["wnid"], drop["outcome"]) == (*expected, "bad_record")
    assert drop["detail"] == f"entry 2: {reason}"


def test_a_number_out_of_range_costs_one_entry(tmp_path: Path) -> None:
    path = tmp_path / "release.json"
    path.write_text(f'[{json.dumps(GOOD)}, {{"title": 1e999}}, {json.dumps(GOOD)}]')
    rows, (drop,) = read(path)
    assert len(rows) == 2
    assert drop["detail"].startswith("entry 2: ")


def test_every_entry_ends_somewhere(tmp_path: Path) -> None:
    others = [{**GOOD, "filename": f"{wnid}_{number}.JPEG", "wnid": wnid} for wnid, number in (
        ("n90000000", 1), ("n90000000", 2), ("n90000001", 2),
    )]  # fmt: skip
    rows, drops = read(write(tmp_path / "release.json", [GOOD, *others, "text"]))
    assert len(rows) == 1
    assert [(drop["wnid"], drop["outcome"], drop["count"]) for drop in drops] == [
        (None, "bad_record", 1),
        ("n90000000", "unknown_class", 2),
        ("n90000001", "unknown_class", 1),
    ]


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"title": None}, "Expected str, got null - at $.title"),
        ({"description": 42}, "Expected str, got int - at $.description"),
        ({"tags": [None, "dog", 3]}, "Expected str, got null - at $.tags[0]"),
        ({"title": [], "tags": {}}, "Expected str, got array - at $.title"),
    ],
)
def test_as_published_a_field_without_text_is_empty(tmp_path: Path, change: dict[str, Any], detail: str) -> None:
    path = write(tmp_path / "release.json", [{**GOOD, **change}])
    (row,), drops = read(path, as_published=True)
    assert drops == []
    empty = {"title": "", "description": "", "tags": ["dog"] if change.get("tags") == [None, "dog", 3] else []}
    for name in ("title", "description", "tags"):
        assert row[name] == (empty[name] if name in change else GOOD[name])
    assert row["detail"] == detail
    with pytest.raises(InputError, match="has no entry with filename"):
        read(path)


def test_as_published_an_entry_needs_its_name_and_class_alone(tmp_path: Path) -> None:
    named = {"filename": GOOD["filename"], "wnid": GOOD["wnid"]}
    bad: list[Any] = [{**GOOD, "wnid": "n02084071", "title": None}, {**GOOD, "filename": 7}, {**GOOD, "wnid": None}, 3]
    rows, drops = read(write(tmp_path / "release.json", [GOOD, named, *bad]), as_published=True)
    assert [row["detail"] for row in rows] == [None, "Object missing required field title"]
    assert [drop["detail"].partition(":")[0] for drop in drops] == ["entry 3", "entry 4", "entry 5", "entry 6"]


def test_half_a_surrogate_pair_is_marked_and_loses_nothing_else(tmp_path: Path) -> None:
    title, description, tags = "half \ud83d of it \U0001f41f \\ud83d", "\udc1f\ud83d", ["a\ude00b"]
    half = {**GOOD, "title": title, "description": description, "tags": tags}
    (_, row), drops = read(write(tmp_path / "release.json", [GOOD, half]))
    assert drops == []
    assert row["title"] == "half \ufffd of it \U0001f41f \\ud83d"
    assert (row["description"], row["tags"]) == ("\ufffd\ufffd", ["a\ufffdb"])


ONE = json.dumps([GOOD]).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no entry with filename"),
        (b"{}", "does not hold a JSON list"),
        (b"[1, 2, 3]", r"has no entry with .*entry 1: Expected object, got int"),
        (ONE[:-20], r"is not one whole JSON list.*truncated"),
        (ONE.replace(b"}]", b"} {}]"), "is not one whole JSON list"),
        (ONE + b"\n" + ONE, "trailing characters"),
        (ONE + b" " * (3 << 20) + b"]", "trailing characters"),
        (b"[" * 100_000, "recursion"),
        (b'[{"filename": "\xff\xfe"}]', "is not UTF-8"),
        (b"[" + b"1, " * (12 << 20), r"an entry of over 32 MB"),
    ],
)
def test_a_file_that_is_not_the_release_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read(path)


def pack(path: Path, **members: bytes) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"packed for a friend"
        for name, content in members.items():
            archive.writestr(name, content)
    return path.read_bytes()


def test_the_zip_gives_what_the_file_gives(tmp_path: Path) -> None:
    plain, packed = write(tmp_path / "imagenet_captions.json", [GOOD]), tmp_path / "imagenet_captions.zip"
    pack(packed, **{"imagenet_captions.json": ONE, "__MACOSX/._imagenet_captions.json": b"junk"})
    assert read(packed) == read(plain)
    sources = [ReleaseSource(packed), ReleaseSource(plain)]
    assert all(list(source.batches()) for source in sources)
    assert sources[0].inputs == sources[1].inputs


def test_zips_that_are_not_the_release(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"
    whole = pack(path, **{"imagenet_captions.json": json.dumps([GOOD] * 2000).encode()})
    for content, message in (
        (pack(path, **{"readme.txt": b"nothing here"}), "should hold one JSON file, not 0"),
        (whole[:-200], "is not a whole zip file"),
        (whole.replace(b"A tench", b"B tench", 3), "is damaged"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            read(path)


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
