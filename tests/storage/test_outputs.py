"""The one rule for what is written: never an input, never somebody else's file, whole or not at all."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.dataset.folder import check_dataset_output, replacing_folder
from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES
from imagenet_captions.schema import MATCHES, with_provenance
from imagenet_captions.storage.outputs import producing, producing_each
from imagenet_captions.storage.receipts import receipt_path


def write(out: Path, text: str = "ours", inputs: tuple[Path, ...] = (), overwrite: bool = False) -> None:
    with producing([out], inputs, overwrite, receipt_path(out)) as new:
        new.files[0].write_text(text)


def refused(out: Path, sentence: str, inputs: tuple[Path, ...] = (), overwrite: bool = False) -> None:
    with pytest.raises(InputError, match=sentence):
        write(out, "lost", inputs, overwrite)


def test_our_own_file_is_replaced_and_an_edited_one_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    write(out, "first")
    write(out, "second")
    assert out.read_text() == "second"
    out.write_text("edited by hand")
    refused(out, "was not written by imagenet-captions, or was changed since")
    assert out.read_text() == "edited by hand"
    write(out, "third", overwrite=True)
    assert out.read_text() == "third"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.csv.json"]


def test_a_file_of_something_else_stays(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    refused(out, "was not written by imagenet-captions")
    assert out.read_text() == "mine"
    out.unlink()
    # A file that the user did not name is never replaced.
    receipt_path(out).write_text("mine")
    for overwrite in (False, True):
        refused(out, "is there, where the receipt of the output would lie", overwrite=overwrite)
    assert receipt_path(out).read_text() == "mine"
    receipt_path(out).unlink()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"mine", b"", b"PAR1 cut off"])
def test_a_file_that_is_not_parquet_stays_where_parquet_goes(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(content)
    with (
        pytest.raises(InputError, match=r"the output .* was not written by imagenet-captions"),
        producing([tmp_path / "out"]),
    ):
        pytest.fail("not refused")
    assert (tmp_path / "out").read_bytes() == content


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_stays(tmp_path: Path, overwrite: bool) -> None:
    given, folder = tmp_path / "given.txt", tmp_path / "folder"
    write(given, "an input that we wrote")
    folder.mkdir()
    for name in ("symbolic", "hard"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "symbolic").symlink_to(given)
    os.link(given, tmp_path / "hard")
    for out in (given, tmp_path / "symbolic", tmp_path / "hard", tmp_path / "folder" / ".." / "given.txt"):
        refused(out, "is the input .* itself", (given,), overwrite)
    refused(folder / "deep" / "out.csv", "lies inside the input", (folder,), overwrite)
    # The receipt would take an input's place.
    refused(tmp_path / "given.txt.json".removesuffix(".json"), "is the input", (given,), overwrite)
    refused(
        tmp_path / "other",
        "is the input",
        (tmp_path / "other.json",) if _made(tmp_path / "other.json") else (),
        overwrite,
    )
    assert given.read_text() == "an input that we wrote"


def _made(path: Path) -> bool:
    path.write_text("{}")
    return True


@pytest.mark.parametrize("overwrite", [False, True])
def test_only_regular_files_are_replaced(tmp_path: Path, overwrite: bool) -> None:
    fifo, folder, nothing = tmp_path / "fifo", tmp_path / "folder", tmp_path / "nothing"
    os.mkfifo(fifo)
    folder.mkdir()
    nothing.symlink_to(tmp_path / "gone")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        for name in ("fifo", "socket"):
            refused(tmp_path / name, "is a device, pipe or socket", overwrite=overwrite)
    refused(folder, "is a folder; give the name of a file", overwrite=overwrite)
    refused(nothing, "is a link to nothing", overwrite=overwrite)
    refused(tmp_path / "loop", "its links lead in a circle", overwrite=overwrite)
    for name in (
        "/dev/null",
        "/dev/full",
        "/dev/new",
        "/proc/version",
        "/proc/nothing/out",
        "/sys/x",
        "/tmp/../dev/stdout",
    ):
        refused(Path(name), "is the system's, not a place for files", overwrite=overwrite)
    refused(Path(), "has no name of its own", overwrite=overwrite)
    refused(tmp_path / "..", "has no name of its own", overwrite=overwrite)
    refused(tmp_path / "fifo" / "out", "fifo is not a folder", overwrite=overwrite)
    refused(tmp_path / ("x" * 300), "the name is too long", overwrite=overwrite)
    assert fifo.is_fifo()
    assert nothing.is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_database_stays(tmp_path: Path, overwrite: bool) -> None:
    store = tmp_path / "photos.sqlite"
    connection = sqlite3.connect(store)
    connection.execute("CREATE TABLE photos (answer)")
    connection.close()
    before = store.read_bytes()
    refused(store, "is an SQLite database", overwrite=overwrite)
    assert store.read_bytes() == before


def test_parquet_is_ours_by_its_metadata_or_columns(tmp_path: Path) -> None:
    for name, schema in (("a", with_provenance(MATCHES, {"inputs": {}})), ("b", OUTCOMES)):
        pq.write_table(schema.empty_table(), tmp_path / name)
        with producing([tmp_path / name]) as new:
            new.files[0].write_text("new")
        assert (tmp_path / name).read_text() == "new"
    pq.write_table(pa.table({"image_id": ["a user's"]}), tmp_path / "c")
    (tmp_path / "d").write_bytes(b"PAR1 broken")
    for name in ("c", "d"):
        with pytest.raises(InputError, match="was not written by"), producing([tmp_path / name]):
            pass


def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "out.csv", tmp_path / "link.csv"
    target.write_text("old")
    link.symlink_to(target)
    write(link, "new", overwrite=True)
    assert link.is_symlink()
    assert target.read_text() == "new"
    folder = tmp_path / "folder"
    folder.symlink_to(tmp_path / "disk", target_is_directory=True)
    with replacing_folder(folder) as made:
        (made / "a").write_text("new")
    assert folder.is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["a"]


def test_several_outputs_appear_together_or_not_at_all(tmp_path: Path) -> None:
    outputs = [tmp_path / "a", tmp_path / "b"]

    def fail() -> None:
        with producing(outputs, receipt=tmp_path / "r.json") as new:
            new.files[0].write_text("a")
            assert list(tmp_path.glob("[abr]*")) == []
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []
    with producing(outputs, receipt=tmp_path / "r.json") as new:
        new.about["counts"] = 2
        for file, text in zip(new.files, "ab", strict=True):
            file.write_text(text)
    receipt = json.loads((tmp_path / "r.json").read_text())
    assert receipt["counts"] == 2
    assert receipt["files"].keys() == {"a", "b"}
    assert "replaces" not in receipt


def test_two_outputs_under_one_name(tmp_path: Path) -> None:
    for outputs in (["a", "a"], ["a", "x/../a"], ["a", "a.json"]):
        paths = [tmp_path / name for name in outputs]
        with pytest.raises(InputError, match="is to be written twice"), producing_each(paths):
            pass
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from imagenet_captions.storage import outputs
from imagenet_captions.storage.receipts import receipt_path
out = Path(sys.argv[1])
real = Path.replace
def replace(self, target):
    if Path(target) == out:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
Path.replace = replace
with outputs.producing([out], receipt=receipt_path(out)) as new:
    new.files[0].write_text("new")
"""


def test_a_run_killed_between_receipt_and_file_leaves_ours(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    write(out, "old")
    assert subprocess.run([sys.executable, "-c", KILLED, out]).returncode == -9
    assert out.read_text() == "old"
    write(out, "new")
    assert out.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.csv.json"]


TWO_RUNS = """
import sys
from pathlib import Path
from imagenet_captions.errors import InputError
from imagenet_captions.storage.outputs import producing
from imagenet_captions.storage.receipts import receipt_path
out, letter = Path(sys.argv[1]), sys.argv[2]
try:
    with producing([out], receipt=receipt_path(out)) as new, new.files[0].open("w") as opened:
        for _ in range(200):
            opened.write(letter * 10_000)
            opened.flush()
except InputError as error:
    sys.exit(str(error))
"""


def test_of_two_runs_one_is_refused_and_the_file_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    for _ in range(3):
        runs = [
            subprocess.Popen([sys.executable, "-c", TWO_RUNS, out, letter], stderr=subprocess.PIPE, text=True)
            for letter in "ab"
        ]
        said = [run.communicate()[1] for run in runs]
        assert any(run.returncode == 0 for run in runs), said
        refusal = f"the output {out} is in use by another run; wait for it to end, or stop it\n"
        assert set(said) <= {"", refusal}
        assert out.read_text() in ("a" * 2_000_000, "b" * 2_000_000)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.csv.json"]


def test_runs_without_a_common_lock_still_publish_whole_files(tmp_path: Path) -> None:
    """As on two machines that share a disk: each has locks of its own."""
    out, temporary = tmp_path / "out" / "out.csv", [tmp_path / name for name in "ab"]
    out.parent.mkdir()
    for folder in temporary:
        folder.mkdir()
    runs = [
        subprocess.Popen([sys.executable, "-c", TWO_RUNS, out, folder.name], env={**os.environ, "TMPDIR": str(folder)},
                         stderr=subprocess.DEVNULL)
        for folder in temporary
    ]  # fmt: skip
    for run in runs:
        run.wait()
    assert not out.exists() or out.read_text() in ("a" * 2_000_000, "b" * 2_000_000)


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = [".out.csv.partial", ".out.csv.0123456789abcdef.partial"]
    others = [".out.csv.gz.partial", ".out.csv.mine.partial", "out.csv.partial"]
    for name in (*left, *others):
        (tmp_path / name).write_text("half")
    write(tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "out.csv", "out.csv.json"])


def test_a_folder_around_an_input_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "out" / "images").mkdir(parents=True)
    with pytest.raises(InputError, match="lies inside the output"):
        check_dataset_output(tmp_path / "out", [tmp_path / "out" / "images"])
    with pytest.raises(InputError, match="is the input"):
        check_dataset_output(tmp_path / "out" / "images", [tmp_path / "out" / "images"])
