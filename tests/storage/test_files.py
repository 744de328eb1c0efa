"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.storage import files


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    files.write_text(path, "old")
    with pytest.raises(NotADirectoryError), files.replacing(path) as partial:
        (partial / "half").write_text("new")
    assert [(each, each.read_text()) for each in path.parent.iterdir()] == [(path, "old")]


@dataclass(frozen=True)
class Told:
    rows: int
    sets: Mapping[str, list[float]]
    seed: int | None = None


def test_json_of_ours_is_read_as_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"rows": 3, "sets": {"a": [1, 0.5]}, "newer": "é"})
    assert path.read_text("utf-8").startswith('{\n  "newer": "é",\n  "rows": 3,\n')
    assert files.read_json(path, Told) == Told(3, {"a": [1.0, 0.5]})
    assert files.read_json(path, dict) == {"rows": 3, "sets": {"a": [1, 0.5]}, "newer": "é"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Input data was truncated"),
        (b"\xff", "JSON is malformed"),
        (b'{"sets": {"\xff": []}, "rows": 1}', "'utf-8' codec can't decode"),
        (b"[]", "Expected 'object', got 'array'"),
        (b'{"rows": 1}', "Object missing required field 'sets'"),
        (b'{"rows": "1", "sets": {}}', r"Expected 'int', got 'str' - at '$.rows'"),
        (b'{"rows": 1, "sets": {"a": [0, null]}}', "Expected 'float', got 'null'"),
        (b"[" * 10**6 + b"]" * 10**6, ""),
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
    assert files.digest(tmp_path / "a") == files.sha256(tmp_path / "a")
