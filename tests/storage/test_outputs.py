"""The one rule for outputs, as a table: what is refused, what may be replaced, and what a killed run leaves."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagenet_captions.errors import DiskFullError, InputError
from imagenet_captions.evaluation.score import open_parts, remove_parts
from imagenet_captions.schema import MATCHES, with_provenance
from imagenet_captions.storage.files import scratch_beside, sha256
from imagenet_captions.storage.outputs import (
    DATASET_FORMAT,
    check_dataset_output,
    check_files,
    holding,
    locked,
    producing,
    producing_folder,
    record_path,
    write_record,
)


def made_dataset(folder: Path, text: str = "old") -> Path:
    """A folder with a shard, a card and a manifest that lists them."""
    with producing_folder(folder) as new:
        (new / "data").mkdir()
        for name in ("data/shard", "README.md"):
            (new / name).write_text(text)
        files = {name: {"sha256": sha256(new / name), "bytes": len(text)} for name in ("data/shard", "README.md")}
        (new / "manifest.json").write_text(json.dumps({"format": DATASET_FORMAT, "version": 1, "files": files}))
    return folder


def state(folder: Path) -> dict[str, object]:
    """Everything below a folder: kinds, links and bytes."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        kind = path.lstat().st_mode
        name = str(path.relative_to(folder))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(kind) else kind
    return found


def link(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


def written(path: Path, text: str = "theirs") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def hard(path: Path, target: Path) -> Path:
    os.link(target, path)
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def store(path: Path) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (answer)")
    return path


def edited(folder: Path, name: str, text: str) -> Path:
    written(made_dataset(folder) / name, text)
    return folder


def claimed(folder: Path, files: object) -> Path:
    written(folder / "thesis.tex")
    written(folder / "manifest.json", json.dumps({"format": DATASET_FORMAT, "version": 1, "files": files}))
    return folder


def protected(folder: Path) -> Path:
    written(folder / "a").chmod(0o444)
    return folder / "a"


FILE, FOLDER, BOTH = ("file",), ("folder",), ("file", "folder")
# What is refused, with `overwrite` too: kind of output, how the place is made (`given` is an input file, `inputs` an
# input folder), and the sentence.
REFUSED: dict[str, tuple[tuple[str, ...], Callable[[Path, Path, Path], Path], str]] = {
    "the input": (BOTH, lambda here, given, inputs: given, "is the input|is a file"),
    "the input folder": (BOTH, lambda here, given, inputs: inputs, "is the input"),
    "a link to the input": (FILE, lambda here, given, inputs: link(here / "a", given), "is the input"),
    "a hard link to the input": (FILE, lambda here, given, inputs: hard(here / "a", given), "is the input"),
    "in the input": (BOTH, lambda here, given, inputs: inputs / "deep" / "out", "lies inside the input"),
    "in the input, by a link": (BOTH, lambda here, given, inputs: link(here / "a", inputs) / "out", "inside the input"),
    "around an input": (FOLDER, lambda here, given, inputs: here, "lies inside the output"),
    "in a dataset": (BOTH, lambda here, given, inputs: made_dataset(here / "d") / "out", "lies inside the dataset"),
    "a FIFO": (BOTH, lambda here, given, inputs: fifo(here / "a"), "is a device, pipe or socket"),
    "a link to nothing": (BOTH, lambda here, given, inputs: link(here / "a", here / "gone"), "is a link to nothing"),
    "below a file": (BOTH, lambda here, given, inputs: written(here / "a") / "out", "is not a folder"),
    "without a name": (BOTH, lambda *_: Path(), "has no name of its own"),
    "a folder for a file": (FILE, lambda here, given, inputs: written(here / "a" / "b").parent, "is a folder"),
    "a file for a folder": (FOLDER, lambda here, given, inputs: written(here / "a"), "is a file"),
    "write-protected": (BOTH, lambda here, given, inputs: protected(here), "is write-protected"),
    "a crawl's store": (FILE, lambda here, given, inputs: store(here / "a"), "is an SQLite database"),
    "an export's record": (FILE, lambda here, g, i: record(written(here / "a").with_name("a.json")), "is the record"),
    "others' folder": (FOLDER, lambda here, given, inputs: written(here / "a" / "b").parent, "something else than"),
    "an empty folder in it": (FOLDER, lambda here, g, i: (here / "a" / "b").mkdir(parents=True) or here / "a", "else"),
    "a stray file below": (FOLDER, lambda here, g, i: edited(here / "d", "data/x", "x"), "holds data/x, which is not"),
    "a stray broken link": (FOLDER, lambda h, g, i: link(made_dataset(h / "d") / "l", h / "z").parent, "holds l, wh"),
    "a shard that grew": (FOLDER, lambda here, g, i: edited(here / "d", "data/shard", "longer"), "was changed since"),
    "a manifest without files": (FOLDER, lambda here, g, i: claimed(here / "d", {}), "holds thesis.tex, which is not"),
    "a manifest without a list": (FOLDER, lambda here, g, i: claimed(here / "d", None), "something else than a dat"),
    "a manifest of no dataset": (FOLDER, lambda h, g, i: written(h / "d" / "manifest.json", "{}").parent, "else than"),
}
CASES = [(name, kind) for name, (kinds, _, _) in REFUSED.items() for kind in kinds]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_refused(name: str, kind: str, overwrite: bool, tmp_path: Path) -> None:
    _, make, sentence = REFUSED[name]
    inputs = [written(tmp_path / "given"), written(tmp_path / "inputs" / "image").parent]
    out = make(tmp_path, *inputs)
    before = state(tmp_path)
    check = (
        partial(check_files, [out], inputs, overwrite) if kind == "file" else partial(check_dataset_output, out, inputs)
    )
    with pytest.raises(InputError, match=sentence):
        check()
    assert state(tmp_path) == before


def ours(path: Path) -> Path:
    pq.write_table(with_provenance(MATCHES, {"inputs": {}}).empty_table(), path)
    return path


def foreign(path: Path) -> Path:
    pq.write_table(pa.table({"image_id": ["a user's"]}), path)
    return path


def record(path: Path) -> Path:
    write_record(path, {}, {})
    return path


# Side file that is there, whether the main file is, and whether the run is allowed without and with `overwrite`.
SIDES: dict[str, tuple[str, Callable[[Path], Path] | None, bool, bool, bool]] = {
    "nothing": ("s.parquet", None, False, True, True),
    "main file alone": ("s.parquet", None, True, False, True),
    "left by a killed run": ("s.parquet", ours, False, True, True),
    "record left by a killed run": ("s.json", record, False, True, True),
    "both": ("s.parquet", ours, True, False, True),
    "others' Parquet": ("s.parquet", foreign, False, False, False),
    "cut off": ("s.parquet", lambda path: written(path, "PAR1 cut off"), False, False, False),
    "others' JSON": ("s.json", lambda path: written(path, '{"format": "theirs"}'), False, False, False),
    "a text table": ("s.tsv", written, False, False, True),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", SIDES)
def test_side_files(name: str, overwrite: bool, tmp_path: Path) -> None:
    side_name, make, has_main, without, with_overwrite = SIDES[name]
    side, main = tmp_path / side_name, tmp_path / "main.csv"
    if make is not None:
        make(side)
    if has_main:
        main.write_text("old")
    before = state(tmp_path)
    if with_overwrite if overwrite else without:
        with producing([main], overwrite=overwrite, beside=[side]) as new:
            for file, text in zip(new, ("side", "main"), strict=True):
                file.write_text(text)
        assert state(tmp_path) == {side_name: b"side", "main.csv": b"main"}
    else:
        refusal = pytest.raises(InputError, match=r"exists; give another name|is not ours")
        with refusal, producing([main], overwrite=overwrite, beside=[side]):
            pass
        assert state(tmp_path) == before


def test_links_and_modes_stay(tmp_path: Path) -> None:
    target = written(tmp_path / "disk" / "out.csv", "old")
    target.chmod(0o640)
    with producing([link(tmp_path / "link.csv", target)], overwrite=True) as (new,):
        new.write_text("new")
        assert new.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "link.csv").is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640
    dataset = made_dataset(tmp_path / "dataset")
    dataset.chmod(0o700)
    with producing_folder(tmp_path / "other") as other, producing_folder(dataset) as folder:
        assert [each.stat().st_mode & 0o777 for each in (other, folder)] == [0o755, 0o700]
        written(folder / "manifest.json", (dataset / "manifest.json").read_text())
    made_dataset(link(tmp_path / "folder", dataset), "new")
    assert (tmp_path / "folder").is_symlink()
    assert (dataset / "data" / "shard").read_text() == "new"
    assert dataset.stat().st_mode & 0o777 == 0o700


def test_outputs_appear_together_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError), producing([tmp_path / "a", tmp_path / "b"]) as new:
        (new[0] / "half").write_text("a")
    assert state(tmp_path) == {}


def test_a_full_disk_between_side_and_main_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is noticed before any takes its place, so the same command works again."""

    def write() -> None:
        with producing([tmp_path / "a.csv"], beside=[tmp_path / "a.tsv"]) as new:
            for file in new:
                file.write_text("new")

    def full(private: Path) -> None:
        if ".a.csv." in private.name:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("imagenet_captions.storage.outputs.sync", full)
        with pytest.raises(DiskFullError, match=r"a\.csv: no space is left on the disk; .* run the same command again"):
            write()
    assert state(tmp_path) == {}
    write()
    assert state(tmp_path) == {"a.csv": b"new", "a.tsv": b"new"}


def test_a_dataset_is_made_again_also_a_damaged_one(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path / "d")
    whole = state(dataset)
    for damage in (lambda: None, (dataset / "data/shard").unlink, lambda: (dataset / "data/shard").write_text("o")):
        damage()
        made_dataset(dataset)
        assert state(dataset) == whole
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_an_export_is_made_again_by_its_record(tmp_path: Path) -> None:
    out, its_record = tmp_path / "shards", record_path(tmp_path / "shards")
    for text in ("one", "two"):
        check_dataset_output(out, [], its_record)
        with producing_folder(out, record=its_record) as new:
            (new / f"{text}.tar").write_text(text)
        write_record(its_record, {f"{text}.tar": ("", 3)}, {})
    assert state(tmp_path).keys() == {"shards", "shards/two.tar", "shards.json"}
    its_record.unlink()
    with pytest.raises(InputError, match="something else than an earlier export"):
        check_dataset_output(out, [], its_record)
    written(its_record, "{}")
    with pytest.raises(InputError, match="is not ours"):
        check_dataset_output(out, [], its_record)


def test_a_file_that_comes_while_a_folder_is_replaced_stays(tmp_path: Path) -> None:
    dataset = made_dataset(tmp_path / "d")
    with producing_folder(dataset) as new:
        written(new / "a", "new")
        written(dataset / "thesis.tex")
    assert state(dataset) == {"a": b"new"}
    (old,) = tmp_path.glob(".d.*.old")
    assert (old / "thesis.tex").read_text() == "theirs"
    assert sorted(path.name for path in old.rglob("*")) == ["thesis.tex"]


def test_of_an_old_folder_only_its_own_files_are_removed(tmp_path: Path) -> None:
    """It was left by a killed run, and its manifest may be anybody's."""
    victims = [written(tmp_path / name) for name in ("victim", "beside/victim")]
    old = made_dataset(made_dataset(tmp_path / "d").with_name(".d.0123456789abcdef.old"))
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["files"] |= {name: {} for name in ("../victim", "data/../../beside/victim", str(victims[0]))}
    written(old / "manifest.json", json.dumps(manifest))
    written(old / "thesis.tex")
    made_dataset(tmp_path / "d", "new")
    assert [path.read_text() for path in (*victims, old / "thesis.tex")] == ["theirs"] * 3
    assert [path.name for path in old.iterdir()] == ["thesis.tex"]
    (tmp_path / "d").rename(tmp_path / ".d.fedcba9876543210.old")  # a run that was killed between two renames
    made_dataset(tmp_path / "d", "newer")
    assert (tmp_path / "d" / "data" / "shard").read_text() == "newer"
    assert [path.name for path in tmp_path.glob(".d.*")] == [old.name]


def test_private_names_of_killed_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    """Whatever a user has under names that earlier versions used stays."""
    killed = [f".out.0123456789abcdef.{ending}" for ending in ("partial", "scratch", "parts")]
    others = [".out.partial", ".out.old", ".out.spool", ".out.parts", ".outer.0123456789abcdef.partial", "out.partial"]
    others += [".out.mine.partial", ".out.0123456789ABCDEF.partial", ".out.0123456789abcdef.old"]
    for name in (*killed, *others):
        written(tmp_path / name / "mine")
    made_dataset(tmp_path / "out")
    with scratch_beside(tmp_path / "out"), open_parts(tmp_path / "out", {}) as parts:
        pass
    remove_parts(parts)
    assert sorted(path.parent.name for path in tmp_path.glob("*/mine")) == sorted(others)
    assert len(list(tmp_path.iterdir())) == len(others) + 1


def _write_both(new: Path, out: Path) -> None:
    written(new / "a", "first")
    with producing_folder(out) as other:
        written(other / "a", "second")
    assert new.exists()


def test_a_run_with_locks_elsewhere_leaves_what_another_one_works_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two jobs of a cluster with a TMPDIR each: whoever ends later keeps its result under its private name."""
    out = tmp_path / "out"
    monkeypatch.setattr("imagenet_captions.storage.outputs.holding", lambda outputs, seconds=0: nullcontext())
    sentence = r"out appeared while this run worked, and stays; what .*partial"
    with pytest.raises(InputError, match=sentence) as told, producing_folder(out) as new:
        _write_both(new, out)
    assert str(new) in str(told.value)
    assert [path.read_text() for path in (out / "a", new / "a")] == ["second", "first"]


HOLDER = """
import pathlib, sys, time
from imagenet_captions.storage.outputs import holding, locked
path = pathlib.Path(sys.argv[2])
with locked(path, "it") if sys.argv[1] == "lock" else holding([path]):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["lock", "output"])
def test_one_run_at_a_time_and_a_killed_one_holds_nothing(kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    hold = partial(locked, what="the output it") if kind == "lock" else lambda path: holding([path])
    others = [] if kind == "lock" else [link(tmp_path / "link", out), tmp_path / "x" / ".." / "out.csv"]
    with subprocess.Popen([sys.executable, "-c", HOLDER, kind, out], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        for path in (out, *others):
            with pytest.raises(InputError, match=r"the output .* is in use by another run"), hold(path):
                pass
        process.kill()
    with hold(out), holding([out]), holding([out]):  # a stage within a build holds what the build holds
        assert out.exists() == (kind == "lock")
