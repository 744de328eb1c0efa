"""Read and write files so that each is whole or not there, and the names of the files that commands share."""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from imagenet_captions.errors import InputError, NotFoundError, shortened
from imagenet_captions.storage.faults import missing_object, reporting_full_disk
from imagenet_captions.storage.places import AnyPlace, Place, expand_pattern, is_remote, resolve_links

# What the stages of a build leave in its work folder.
MATCHES = "matches.parquet"
YFCC_PHOTOS = "yfcc.parquet"
PHOTO_STORE = "photos.sqlite"
CAPTIONS = "captions.parquet"
# In a dataset folder, beside its shards; in the folder of a training run.
MANIFEST, CARD, CROISSANT = "manifest.json", "README.md", "croissant.json"
METRICS, DONE_FILE = "metrics.json", "done.json"

_LARGEST_READ_WHOLE = 4 << 30
_SQLITE = b"SQLite format 3\0"

_PRIVATE = re.compile(r"\..+\.[0-9a-f]{16}\.partial", re.DOTALL)

Kind = TypeVar("Kind")


# Private names: `.NAME.<16 hex digits>.<ending>` beside NAME, each for one run.


def private_name(path: Path, ending: str) -> Path:
    """Return a name beside `path` that no other run uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.{ending}")


def private_names(path: Path, ending: str) -> list[Path]:
    """Return what lies beside `path` under private names."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.{ending}")
    return sorted(Path(entry.path) for entry in os.scandir(path.parent) if name.fullmatch(entry.name))


@contextmanager
def alive(path: Path) -> Iterator[None]:
    """Lock a private file or folder, so that other runs see that this one lives, whatever their TMPDIR."""
    opened = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks, where no run removes what another one left
            fcntl.flock(opened, fcntl.LOCK_SH)
        yield
    finally:
        os.close(opened)


def is_alive(path: Path) -> bool:
    """Return whether a run works on a private file or folder; also if that cannot be known."""
    try:
        # Over NFS an exclusive lock needs a file that is open for writing.
        opened = os.open(path, os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_RDONLY if path.is_dir() else os.O_RDWR))
    except OSError:
        return True
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(opened)
    return False


class Appeared(InputError):
    """Something appeared under the name of an output while a run worked; its new file keeps its private name."""

    def __init__(self, path: Path, private: Path) -> None:
        super().__init__(f"{path} appeared while this run worked, and stays; what this run wrote is {private}")


@contextmanager
def private_place(path: Place, ending: str = "partial", folder: bool = False) -> Iterator[Path]:
    """Make an empty private file or folder beside `path`, with the mode of the one that is there; remove it at the end.

    For a URL it is in the temporary folder. The next run removes what a killed process left. If the block moves it, it
    stays.
    """
    if is_remote(path):
        with tempfile.TemporaryDirectory(prefix="imagenet-captions-") as name:
            private = Path(name) / "new"
            private.mkdir() if folder else private.touch()
            yield private
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in [] if _in_private(path) else private_names(path, ending):
        if not is_alive(left):
            _remove(left)
    private = private_name(path, ending)
    mode = path.stat().st_mode & 0o777 if path.exists() else None
    if folder:
        private.mkdir(mode=0o777 if mode is None else mode)
    else:
        os.close(os.open(private, os.O_CREAT | os.O_EXCL, 0o666 if mode is None else 0o600))
        if mode is not None:
            private.chmod(mode)
    try:
        with alive(private):
            yield private
    except Appeared:
        raise
    except BaseException:
        _remove(private)
        raise
    _remove(private)


def scratch_beside(path: Place) -> AbstractContextManager[Path]:
    """Make a scratch folder beside `path`, or for a URL in the temporary folder, and remove it at the end."""
    return private_place(path, "scratch", folder=True)


def _in_private(path: Path) -> bool:
    """Return whether a file is for a private folder, where Ray may repeat the task that writes it."""
    return any(_PRIVATE.fullmatch(folder.name) for folder in path.parents)


def _remove(private: Path) -> None:
    if private.is_dir():
        shutil.rmtree(private)
    else:
        private.unlink(missing_ok=True)


@contextmanager
def replacing(path: Place) -> Iterator[Path]:
    """Yield a private file to write to, and move it to `path` if the block succeeds; links and the mode stay."""
    path = resolve_links(path)
    if _PRIVATE.fullmatch(path.name):  # whoever made it publishes it
        yield Path(str(path))
        return
    with reporting_full_disk(str(path)), private_place(path) as private:
        yield private
        if is_remote(path) or not _in_private(path):  # such a folder is not published yet
            sync(private)
        publish(private, path)


def sync(private: Path) -> None:
    """Wait until the bytes of a file are on the disk, so that a full one is noticed before anything is replaced."""
    with private.open("rb") as written:
        os.fsync(written.fileno())


def publish(private: Path, path: Place) -> None:
    """Move a private file to its place, or a folder where nothing or an empty folder is; else raise Appeared."""
    if is_remote(path):
        path.put(private)
    elif private.is_file():
        private.replace(path)
    else:
        try:
            private.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            raise Appeared(path, private) from None


def read_json(path: Place, kind: type[Kind], what: str = "the file") -> Kind:
    """Read a JSON file of this package as a dataclass, a msgspec.Struct or a plain type; unknown keys are ignored."""
    with (path if is_remote(path) else require_file(path, what)).open("rb") as opened:
        return checked(opened.read(), kind, f"{what} {path}")


def checked(value: Any, kind: type[Kind], where: str) -> Kind:
    """Return the bytes of a JSON file, or a value of one, as a kind; raises InputError, which starts with `where`."""
    import msgspec

    try:
        return msgspec.json.decode(value, type=kind) if isinstance(value, bytes) else msgspec.convert(value, kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = shortened(error, 200).replace("`", "'")
        raise InputError(
            f"{where} has not the expected content ({reason}); make it again, or give another file"
        ) from None


def write_json(path: Place, value: Any) -> None:
    """Write a value as readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Place, text: str) -> None:
    """Write a text as UTF-8, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def sha256(path: Place) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as opened:
        digest = hashlib.sha256()
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_hidden(name: str) -> bool:
    """Return whether a file is hidden, or put beside the others in an archive by macOS."""
    return name.rpartition("/")[2].startswith(".") or "__MACOSX/" in name


# Where people get an input, by a part of its name; docs/reference/inputs.md has them all.
ORIGINS = {
    "imagenet_caption": "https://github.com/mlfoundations/imagenet-captions",
    "fall11": "https://academictorrents.com/details/564a77c1e1119da199ff32622a1609431b9f1c47",
    "loc_train": "https://www.kaggle.com/c/imagenet-object-localization-challenge",
    "ilsvrc2012": "https://image-net.org/download.php",
    "yfcc100m": "https://multimediacommons.wordpress.com",
    "cifar10": "https://huggingface.co/datasets/uoft-cs/cifar10",
    "imagenetv2": "https://github.com/modestyachts/ImageNetV2",
    "imagenet-r": "https://github.com/hendrycks/imagenet-r",
    "imagenet-a": "https://github.com/hendrycks/natural-adv-examples",
    "sketch": "https://github.com/HaohanWang/ImageNet-Sketch",
    "objectnet": "https://objectnet.dev",
}


def require_there(path: AnyPlace, what: str) -> AnyPlace:
    """Return the path if a regular file or a folder is there; raise InputError, which starts with `what`, if not.

    Inputs are read more than once (for a digest, for one), so pipes are refused.
    """
    if is_remote(path):
        if not path.exists():
            raise missing_object(str(path))
        return path
    if not path.exists():
        gone = "is a link to nothing" if path.is_symlink() else "does not exist"
        origins = [f", or get it from {origin}" for part, origin in ORIGINS.items() if part in path.name.lower()]
        raise NotFoundError(f"{what} {path} {gone}; check the path{''.join(origins)}")
    if not (path.is_file() or path.is_dir()):
        raise InputError(f"{what} {path} is a pipe, device or socket; write it to a file, and give that")
    return path


def require_file(path: AnyPlace, what: str) -> AnyPlace:
    """Return the path if a regular file is there; raise InputError, which starts with `what`, if not."""
    if require_there(path, what).is_dir():
        raise InputError(f"{what} {path} is a folder; give the file itself")
    return path


def read_text(path: AnyPlace, what: str) -> str:
    """Return the text of a UTF-8 file; raise InputError, which starts with `what`, for another one."""
    try:
        return require_file(path, what).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{what} {path} is not a text file in UTF-8; check the path, or save it as UTF-8") from None


def read_lines(path: AnyPlace, what: str) -> list[str]:
    """Return the lines of a UTF-8 file without the blanks around them, and without empty ones."""
    return [line.strip() for line in read_text(path, what).splitlines() if line.strip()]


def csv_text(rows: Iterable[Iterable[object]], end: str = "\n") -> str:
    """Return the text of a CSV file with these rows."""
    text = io.StringIO()
    csv.writer(text, lineterminator=end).writerows(rows)
    return text.getvalue()


def digest(path: Place) -> str:
    """Return a digest that changes when an input does; for a pattern, when one of its files does.

    It covers the bytes of a file, or the names, sizes and times in a folder and of a file over 4 GB: reading all of
    ImageNet would take longer than most stages. Behind a URL the store's version of an object (ETag) is its time.
    """
    if (files := expand_pattern(path)) is not None:
        return hashlib.sha256("".join(map(digest, files)).encode()).hexdigest()
    if is_remote(path):
        lines = (f"{name}\0{size}\0{version}\n" for _, name, size, version in path.below())
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    if path.is_file() and path.stat().st_size <= _LARGEST_READ_WHOLE:
        return sha256(path)
    listing = hashlib.sha256()
    for found in [path] if path.is_file() else sorted(path.rglob("*")):
        if found.is_file():
            stat = found.stat()
            listing.update(f"{found.relative_to(path).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return listing.hexdigest()


def is_sqlite(path: Place) -> bool:
    """Return whether a file is an SQLite database, whatever its name."""
    with path.open("rb") as opened:
        return opened.read(len(_SQLITE)) == _SQLITE


def walk(path: Place) -> Iterator[tuple[str, str]]:
    """Yield every file below a folder, as a path or URL, with its name in there, in the order of the names.

    Links are followed. Raises InputError for a folder that may not be read, and for links that lead in a circle.
    """
    if is_remote(path):
        yield from ((str(file), name) for file, name, _, _ in path.below())
    else:
        yield from _walk(str(path), "")


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        kinds = [(entry, entry.is_dir()) for entry in entries]
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be read: {error.strerror}; check it and its links") from None
    for entry, is_folder in kinds:
        if is_folder:
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
        elif entry.is_file():
            yield entry.path, prefix + entry.name
