"""The one rule for everything that this package writes, and the locks and names by which it is written.

- An output that is an input, lies inside one or holds one, lies inside a dataset, is write-protected, or is not a
  regular file or folder, is refused.
- A file that exists is refused unless `overwrite`. A side file of our format whose main file is missing is replaced,
  so that a killed command can be run again; one that is not of our format is never replaced.
- A folder is ours if its record has our format and lists every file in it: a dataset's manifest, or NAME.json beside
  an export. It may be made again. Any other folder with something in it is refused.
- Only files that such a record lists are removed, and private files (`.NAME.<16 hex digits>.partial`) of killed runs.

    with producing([out], inputs=[table], overwrite=False, beside=[side]) as (new_side, new):
        new.write_text(...)       # a private file, which takes the place of `out` at the end, after `side`
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from imagenet_captions.errors import ImagenetCaptionsError, InputError, NotFoundError, quoted
from imagenet_captions.outcomes import OUTCOMES
from imagenet_captions.schema import PHOTOS, provenance
from imagenet_captions.storage.faults import reason_of, reporting_full_disk
from imagenet_captions.storage.files import (
    CARD,
    MANIFEST,
    Appeared,
    alive,
    is_alive,
    is_sqlite,
    private_name,
    private_names,
    private_place,
    publish,
    read_json,
    sha256,
    sync,
    write_json,
)
from imagenet_captions.storage.parquet import read_schema
from imagenet_captions.storage.places import (
    Place,
    RemotePath,
    at_once,
    each_file,
    is_remote,
    resolve_links,
)

log = logging.getLogger(__name__)

DATASET_FORMAT = "imagenet-captions dataset"
EXPORT_FORMAT = "imagenet-captions export"
LOCK = ".lock"  # in a folder that runs resume
_FORMATS = "imagenet-captions "  # each JSON file of ours begins its `format` with this
_CARRY_A_FORMAT = (".json", ".parquet")
# Parquet files of ours that carry no metadata, known by their columns.
_UNMARKED = (OUTCOMES.names, PHOTOS.names)
# The outputs that the current chain of calls holds: `build` holds a dataset that `package` then writes.
_HELD: ContextVar[frozenset[str]] = ContextVar("held outputs", default=frozenset())


# Files.


@contextmanager
def producing(
    outputs: Sequence[Place],
    inputs: Iterable[Place | None] = (),
    overwrite: bool = False,
    beside: Sequence[Place] = (),
) -> Iterator[list[Path]]:
    """Check and lock outputs, yield private files to write to, and publish all of them if the block succeeds.

    `outputs` are named by the user; their side files, `beside`, come first in the list and take their places first. If
    anything goes wrong, everything stays as it was. Raises InputError, before any work, for an output that must not be
    written, and Appeared if there is a file at the end where none was.
    """
    every = [*beside, *outputs]
    with holding(every), ExitStack() as stack:
        check_files(outputs, inputs, overwrite, beside)
        places = [resolve_links(path) for path in every]
        absent = [path for path in places if not is_remote(path) and not path.exists()]
        private: list[Path] = []
        for path in places:
            try:
                private.append(stack.enter_context(private_place(path)))
            except OSError as error:
                raise InputError(f"the output {path} cannot be written: {reason_of(error)}") from None
        with reporting_full_disk(str(every[-1]) if every else tempfile.gettempdir()):
            yield private
            for file in private:
                sync(file)
        for path in absent:
            if path.exists():
                raise Appeared(path, private[places.index(path)])
        for path, file in zip(places, private, strict=True):
            publish(file, path)


def check_files(
    outputs: Sequence[Place], inputs: Iterable[Place | None], overwrite: bool, beside: Sequence[Place] = ()
) -> None:
    """Refuse output files that must not be written; `beside` are side files, which the user did not name."""
    given = list(inputs)
    check_distinct([*outputs, *beside])
    for path in [*outputs, *beside]:
        check_place(path, given)
        if path.is_dir():
            raise InputError(f"the output {path} is a folder; give the name of a file")
        if not path.exists():
            continue
        if not is_remote(path) and is_sqlite(path):
            raise InputError(f"the output {path} is an SQLite database, such as a store; give another name")
        is_record = path in outputs and path.suffix == ".json" and path.with_suffix("").exists()
        if is_record and read_record(path).get("format") == EXPORT_FORMAT:
            raise InputError(f"the output {path} is the record of an export; give another name")
        is_ours = path in beside and has_our_format(path)
        if path in beside and path.suffix in _CARRY_A_FORMAT and not is_ours:
            raise InputError(f"{path} lies where a side file would, and is not ours; give another name")
        if not overwrite and not is_ours:
            raise InputError(f"the output {path} exists; give another name, or `overwrite=True` to replace it")


def has_our_format(path: Place) -> bool:
    """Return whether a file is ours: Parquet by its metadata or columns, JSON by its `format`."""
    try:
        schema = read_schema(path)
    except InputError:  # not Parquet
        return str(read_record(path).get("format")).startswith(_FORMATS)
    return bool(provenance(schema)) or schema.names in _UNMARKED


def check_distinct(outputs: Iterable[Place]) -> None:
    """Refuse two outputs under one name."""
    seen: dict[str, Place] = {}
    for path in outputs:
        if seen.setdefault(str(resolve_links(path)), path) is not path:
            raise InputError(f"the output {path} is to be written twice; give each its own name")


def check_place(out: Place, inputs: Iterable[Place | None]) -> None:
    """Refuse an output that cannot be where it should be, that is an input, or that lies in one or in a dataset."""
    if isinstance(out, Path):
        if out.name in ("", ".."):
            raise InputError(f"the output {str(out)!r} has no name of its own; give one, such as {out / 'new'}")
        if out.exists():
            mode = out.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise InputError(f"the output {out} is a device, pipe or socket; give another name")
            if not mode & stat.S_IWUSR:
                raise InputError(f"the output {out} is write-protected; give another name")
        elif out.is_symlink():
            raise InputError(f"the output {out} is a link to nothing; give another name")
        elif not (parent := next(parent for parent in out.parents if os.path.lexists(parent))).is_dir():
            raise InputError(f"the output {out} cannot be there: {parent} is not a folder; give another place")
    here = resolve_links(out)
    for folder in here.parents:
        if is_dataset(folder):
            raise InputError(f"the output {out} lies inside the dataset {folder}; give another place")
    for given in each_file(inputs):
        try:
            there = resolve_links(given)
            is_hard_link = isinstance(out, Path) and isinstance(given, Path) and out.exists() and out.samefile(given)
        except OSError:  # an input that is not there is refused where it is read
            continue
        if here == there or is_hard_link:
            raise InputError(f"the output {out} is the input {given} itself; give another name")
        if there in here.parents:
            raise InputError(f"the output {out} lies inside the input {given}; give another place")


# Records.


def record_path(out: Place) -> Place:
    """Return the path of the record of an export: OUT.json."""
    return out.parent / f"{out.name}.json"


def write_record(path: Place, files: Mapping[str, tuple[str, int]], about: Mapping[str, Any]) -> None:
    """Write the record of an export: the SHA-256 and size of each file by name, and `about` them."""
    listed = {name: {"sha256": digest, "bytes": size} for name, (digest, size) in files.items()}
    made_with = {"imagenet-captions": importlib.metadata.version("imagenet-captions")}
    write_json(path, {"format": EXPORT_FORMAT, "version": 1, "made_with": made_with, **about, "files": listed})


def read_record(path: Place) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is none."""
    try:
        return read_json(path, dict[str, Any]) if path.is_file() else {}
    except (OSError, InputError):
        return {}


def is_dataset(folder: Place) -> bool:
    """Return whether a folder is a dataset of this package, of any version, finished or not."""
    return read_record(folder / MANIFEST).get("format") == DATASET_FORMAT


# Folders.


def check_folder(out: Place, inputs: Iterable[Place | None]) -> None:
    """Refuse an output folder that cannot be created, is an input, or lies inside or around one."""
    if is_remote(out) and out.parent == out:
        raise InputError(f"the output {out} is a whole bucket; give a folder in it")
    given = list(each_file(inputs))
    check_place(out, given)
    if out.exists() and not out.is_dir():
        raise InputError(f"the output {out} is a file; give a folder")
    for path in given:
        if resolve_links(out) in resolve_links(path).parents:
            raise InputError(f"the input {path} lies inside the output {out}; give another place")


def check_nothing_else(folder: Path, reason: str) -> None:
    """Refuse a folder that holds anything but a lock file."""
    others = sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.is_dir() else []
    if others:
        raise InputError(f"{folder} holds {quoted(others[0])} and {reason}; give a new folder as `out`")


def check_dataset_output(out: Place, inputs: Sequence[Place | None], record: Place | None = None) -> None:
    """Refuse an output folder that must not be replaced; `record` is that of an export, without it it is a dataset."""
    check_folder(out, inputs)
    if record is not None:
        check_place(record, inputs)
        if record.exists() and read_record(record).get("format") != EXPORT_FORMAT:
            raise InputError(f"{record} lies where the record would, and is not ours; give another name")
    own_files(out, record)


def own_files(out: Place, record: Place | None = None) -> frozenset[str]:
    """Return the names of the files in a folder of ours. Raises InputError if anything else is in it."""
    found = _sizes(out)
    if not found:
        return frozenset()
    what, expected = ("a dataset", DATASET_FORMAT) if record is None else ("an earlier export", EXPORT_FORMAT)
    content = read_record(record or out / MANIFEST)
    listed = content.get("files")
    if content.get("format") != expected or not isinstance(listed, dict):
        raise InputError(f"the output folder {out} holds something else than {what}; give a new or empty one")
    for name in sorted(found.keys() - ({MANIFEST} if record is None else set())):
        if name not in listed and not (name.endswith("/") and any(each.startswith(name) for each in listed)):
            raise InputError(f"the output folder {out} holds {name}, which is not ours; move it elsewhere")
        entry = listed.get(name)
        if not isinstance(entry, dict) or "unfinished" in content:
            continue
        # A shorter file is damage, which making the dataset again repairs.
        is_longer = isinstance(size := entry.get("bytes"), int) and found[name] > size
        if is_longer or (name == CARD and sha256(out / name) != entry.get("sha256")):
            raise InputError(f"{name} in the output folder {out} was changed since it was written; move it elsewhere")
    return frozenset(found)


def _sizes(folder: Place) -> dict[str, int]:
    """Return everything below a folder that is not a folder with something in it, with its size."""
    if is_remote(folder):
        return {name: size for _, name, size, _ in folder.below()}
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not path.is_dir():
            found[name] = path.stat().st_size if path.exists() else 0
        elif not any(path.iterdir()):
            found[f"{name}/"] = 0
    return found


@contextmanager
def producing_folder(out: Place, inputs: Sequence[Place | None] = (), record: Place | None = None) -> Iterator[Place]:
    """Check and lock an output folder, yield an empty one to write to, and move it to `out` if the block succeeds.

    If this run is killed, `out` is the old folder or the new one. Only between two renames it is missing: the old
    folder is then `.NAME.<16 hex digits>.old`, and the next run moves it back. A store cannot rename: new objects are
    written beside their place and copied, and meanwhile a record says `unfinished`, which no reader takes for a
    dataset. The caller writes `record` afterwards.

    Raises InputError for an output that must not be written, before any work, or if another run works on it, and
    DiskFullError if the disk is full.
    """
    with holding([out] if record is None else [out, record]), reporting_full_disk(str(out)):
        check_dataset_output(out, inputs, record)
        with _replacing_objects(out, record) if is_remote(out) else _replacing_local(out, record) as folder:
            yield folder


@contextmanager
def _replacing_local(out: Path, record: Place | None) -> Iterator[Path]:
    here = Path(os.path.realpath(out))  # a link stays, and the folder that it leads to is replaced
    with private_place(here, folder=True) as new:
        for old in private_names(here, "old"):
            listed = read_record(record or old / MANIFEST).get("files")
            if isinstance(listed, dict) and not is_alive(old):
                names = listed if record else [*listed, MANIFEST]
                _remove_listed(old, names) if here.exists() else old.rename(here)
        owned = own_files(here, record)
        yield new
        for half in new.rglob(".*.partial"):  # of workers that were killed
            half.unlink()
        if record is not None:
            _mark_unfinished(record, EXPORT_FORMAT, new.name, owned | _sizes(new).keys())
        old = private_name(here, "old")
        with alive(here) if owned else nullcontext():
            if owned:
                new.chmod(here.stat().st_mode & 0o777)
                here.rename(old)
            publish(new, here)
            if owned:
                _remove_listed(old, owned)


def _remove_listed(folder: Path, names: Iterable[str]) -> None:
    """Remove these files, and the folders that get empty; anything else stays."""
    for name in names:
        path = folder / name
        if folder in path.parents and ".." not in path.parts:
            if not path.is_dir():
                path.unlink(missing_ok=True)
            for parent in [path, *path.parents][: -len(folder.parents) - 1]:
                with suppress(OSError):
                    parent.rmdir()
    with suppress(FileNotFoundError):
        if any(folder.iterdir()):
            log.warning("%s has files that are not ours, and stays", folder)
        else:
            folder.rmdir()


@contextmanager
def _replacing_objects(out: RemotePath, record: Place | None) -> Iterator[RemotePath]:
    # A store has no locks: what another machine writes there at this moment is lost to it too.
    left = re.compile(rf"\.{re.escape(out.name)}\.[0-9a-f]{{16}}\.partial")
    with suppress(NotFoundError):  # nothing is there yet
        for folder in out.parent.iterdir():
            if left.fullmatch(folder.name):
                _remove_objects(folder)
    owned, run = own_files(out, record), secrets.token_hex(8)
    new = out.with_name(f".{out.name}.{run}.partial")
    try:
        yield new
        sizes = _sizes(new)
        has_manifest = sizes.pop(MANIFEST, None) is not None
        mark = record or out / MANIFEST
        _mark_unfinished(mark, EXPORT_FORMAT if record else DATASET_FORMAT, run, owned | sizes.keys())
        at_once(RemotePath.copy_to, [new / name for name in sizes], [out / name for name in sizes])
        for name in owned - sizes.keys() - {MANIFEST}:
            (out / name).unlink()
        if read_record(mark).get("unfinished") != run or not sizes.items() <= _sizes(out).items():
            raise InputError(f"another run wrote to {out} at the same time; run the same command again, alone")
        if has_manifest:
            (new / MANIFEST).copy_to(out / MANIFEST)
    finally:
        with suppress(ImagenetCaptionsError):  # an earlier error is more important
            _remove_objects(new)


def _remove_objects(folder: RemotePath) -> None:
    at_once(RemotePath.unlink, [file for file, _, _, _ in folder.below()])


def _mark_unfinished(record: Place, kind: str, run: str, names: Iterable[str]) -> None:
    """Say that a folder is being replaced, so that no reader takes it for whole, and which files are ours."""
    write_json(record, {"format": kind, "version": 1, "unfinished": run, "files": {name: {} for name in sorted(names)}})


# Locks.


@contextmanager
def locked(path: Path, what: str, seconds: float = 0) -> Iterator[None]:
    """Hold a lock file while a run works on `what`; raise InputError if another run holds it for `seconds`."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(path).acquire(timeout=seconds)
    except Timeout:
        raise InputError(f"{what} is in use by another run; wait for it to end") from None
    with held:
        yield


@contextmanager
def holding(outputs: Iterable[Place], seconds: float = 0) -> Iterator[None]:
    """Lock outputs for this run, by files in the temporary folder of this machine; other machines do not see them."""
    names = {str(resolve_links(path)): path for path in outputs}
    held = _HELD.get()
    folder = Path(tempfile.gettempdir()) / f"imagenet-captions-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():  # who could plant links there
        raise InputError(f"{folder} belongs to another user; set TMPDIR to a folder of your own")
    with ExitStack() as stack:
        for identity in sorted(names.keys() - held):
            name = hashlib.sha256(os.fsencode(identity)).hexdigest()[:32]
            stack.enter_context(locked(folder / f"{name}.lock", f"the output {names[identity]}", seconds))
        token = _HELD.set(held | names.keys())
        try:
            yield
        finally:
            _HELD.reset(token)
