"""Files that are whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from imagenet_captions import files
from imagenet_captions.errors import InputError


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


def test_a_lock_refuses_a_second_run_and_ends_with_a_killed_one(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = "import sys, time, pathlib; from imagenet_captions.files import locked\n" + (
        "with locked(pathlib.Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", holder, str(lock)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="the store is in use by another run"), files.locked(lock, "the store"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with files.locked(lock, "the store"):
        assert lock.exists()
