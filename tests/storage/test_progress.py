"""Bars at a terminal, one line elsewhere, and files that tell how far they have been read."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import zipfile
from pathlib import Path

import pytest

import imagenet_captions as ic
from imagenet_captions.labelling.label import LabelSettings, label_by_text
from imagenet_captions.packager.package import PackageSettings, package
from imagenet_captions.storage.progress import open_watched, progress, track
from tests.packager.made import images, train_folder, write_captions

FOUR_MB = 4 << 20


def at_a_terminal(program: str) -> str:
    """What a program writes to a stderr that is a terminal."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    child = subprocess.Popen([sys.executable, "-c", program], stderr=writer)
    os.close(writer)
    told = b""
    while True:
        try:
            block = os.read(reader, 1 << 16)
        except OSError:  # how Linux says that the other end is closed
            break
        told += block
    assert child.wait() == 0
    return told.decode()


def test_a_terminal_has_a_bar_with_the_time_left_and_lines_of_log_above_it() -> None:
    program = """
import logging, time
from imagenet_captions.cli.messages import BesideBars
from imagenet_captions.cli.app import command
logging.basicConfig(level=logging.INFO, format="INFO %(message)s", handlers=[BesideBars(command("package"))])
from imagenet_captions.storage.progress import progress
with progress("package", 4, "rows") as bar:
    logging.info("a word")
    for _ in range(4):
        time.sleep(0.15)
        bar.update()
"""
    told = at_a_terminal(program)
    lines = re.split(r"[\r\n]+", told)
    assert [line for line in lines if "INFO" in line] == ["\x1b[KINFO a word"]
    before, after = told.split("a word")
    assert "package:   0%" in before
    assert re.search(r"package:  \d\d%.*[123]/4 \[00:0\d<00:0\d", after), told
    assert "4/4" in told


def test_elsewhere_lines_are_logged_at_the_start_and_every_half_minute(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    monkeypatch.setattr("tqdm.std.time", lambda: now)
    with progress("package", 12_345, "rows", done=345) as bar:
        assert caplog.messages == ["package: 12,345 rows"]
        for seconds in (1.0, 29.0, 30.0, 31.0, 59.0, 60.0):
            now = seconds
            bar.set_postfix_str("a word", refresh=False)
            bar.update(100)
    assert caplog.messages[1:] == [
        "package: 645/12345 rows, 10.00 rows/s, 19:30 left, a word",
        "package: 945/12345 rows, 10.00 rows/s, 19:00 left, a word",
    ]
    caplog.clear()
    read = []
    for item in track("ab", "verify", 2, "files"):
        read.append(item)
        now += 40
    assert read == ["a", "b"]
    assert caplog.messages == [
        "verify: 2 files",
        "verify: 1/2 files, 40.00 s/files, 00:40 left",
        "verify: 2/2 files, 40.00 s/files, 00:00 left",
    ]
    assert capsys.readouterr().err == ""


def test_an_interrupt_ends_the_line_of_the_bar() -> None:
    program = """
from imagenet_captions.cli.app import app
from imagenet_captions.packager import package
from imagenet_captions.storage.progress import track
def verify(dataset):
    verify.items = track("abcd", "verify", 4, "files")
    next(verify.items)
    raise KeyboardInterrupt
package.verify = verify
try:
    app(["verify", "x"])
except SystemExit as end:
    assert end.code == 130
"""
    *_, bar, said, end = at_a_terminal(program).split("\r\n")
    assert bar.count("0/4") == bar.count("\r") == 2, bar
    assert said.startswith("imagenet-captions: interrupted; ")
    assert end == ""


def test_a_large_file_is_counted_to_its_end_even_as_a_zip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", os.urandom(FOUR_MB + 17))
    with open_watched(path, "read a.zip") as opened, zipfile.ZipFile(opened) as archive:
        assert len(archive.read("data")) == FOUR_MB + 17
    assert caplog.messages == ["read a.zip: 4 MB"]
    caplog.clear()
    path.write_text("Zürich\nDog\n", encoding="utf-8")
    with open_watched(path, "read") as opened, io.TextIOWrapper(opened, "utf-8") as text:
        assert list(text) == ["Zürich\n", "Dog\n"]
    assert caplog.messages == []


def test_every_stage_tells_its_total(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    captions, dataset = write_captions(tmp_path / "captions.parquet"), tmp_path / "dataset"
    package(captions, dataset, PackageSettings(images=train_folder(tmp_path / "train", images())))
    ic.filter(dataset, ic.has("title"), out=tmp_path / "part", workers=1)
    ic.diff(dataset, tmp_path / "part")
    ic.stats(dataset)
    label_by_text(dataset, tmp_path / "labelled.parquet", LabelSettings(workers=1))
    ic.export(dataset, tmp_path / "slim.csv", ic.ExportSettings("slim", workers=1))
    totals = {"find images: 12 images", "read: 1 shards", "compare: 24 rows"}
    assert set(caplog.messages) == totals | {
        f"{stage}: 12 rows" for stage in "package select write stats label".split()
    }
