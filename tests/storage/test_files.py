"""Files that are whole or not there."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.storage import files


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail() -> None:
        with files.replacing(path) as partial:
            partial.write_text("new, half")
            raise zlib.error

    with pytest.raises(zlib.error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_success_replaces_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    with files.replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_json_is_sorted_and_readable(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"b": "é", "a": 1})
    assert (tmp_path / "x.json").read_text(encoding="utf-8") == '{\n  "a": 1,\n  "b": "é"\n}\n'


@dataclass(frozen=True)
class Told:
    rows: int
    sets: Mapping[str, list[float]]
    seed: int | None = None


def test_json_of_ours_is_read_as_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"rows": 3, "sets": {"a": [1, 0.5]}, "newer": None})
    assert files.read_json(path, Told) == Told(3, {"a": [1.0, 0.5]})
    assert files.read_json(path, dict) == {"rows": 3, "sets": {"a": [1, 0.5]}, "newer": None}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b"\xff", "JSON is malformed"),
        (b'{"sets": {"\xff": []}, "rows": 1}', "'utf-8' codec can't decode"),
        (b"null", "Expected 'object', got 'null'"),
        (b"[]", "Expected 'object', got 'array'"),
        (b'"text"', "Expected 'object', got 'str'"),
        (b"NaN", "JSON is malformed"),
        (b'{"rows": 1}', "Object missing required field 'sets'"),
        (b'{"rows": "1", "sets": {}}', r"Expected 'int', got 'str' - at '$.rows'"),
        (b'{"rows": 1, "sets": {"a": [0, null]}}', "Expected 'float', got 'null'"),
        (b'{"rows": 1, "sets": {}, "deep": ' + b"[" * 10**6 + b"]" * 10**6 + b"}", "maximum recursion depth exceeded"),
        (b"[" * 10**6 + b"]" * 10**6, ""),
        (b" " * (64 << 20) + b"1", "it has over 67,108,864 bytes"),
    ],
    ids=lambda value: value[:20],
)
def test_json_of_another_shape_is_one_sentence(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        files.read_json(path, Told, "the notes")
    assert str(raised.value).startswith(f"the notes {path} has not the expected content ({reason}")
    assert str(raised.value).endswith("; make it again, or give another file")
    with pytest.raises(InputError, match=r"the notes .* is a folder"):
        files.read_json(tmp_path, Told, "the notes")


def test_digest_of_a_folder_changes_with_a_name_a_size_and_a_time(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    seen = {files.digest(tmp_path)}
    (tmp_path / "b").write_text("")
    seen.add(files.digest(tmp_path))
    (tmp_path / "b").write_text("longer")
    seen.add(files.digest(tmp_path))
    os.utime(tmp_path / "b", (1, 1))
    seen.add(files.digest(tmp_path))
    assert len(seen) == 4


def test_digest_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    first = files.digest(path)
    os.utime(path, (1, 1))
    assert files.digest(path) == first == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_must_be_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the list .* is a folder"):
        files.require_file(tmp_path, "the list")
    with pytest.raises(InputError, match=r"the list .* does not exist"):
        files.require_file(tmp_path / "x", "the list")
