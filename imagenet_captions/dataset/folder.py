"""A dataset folder that is whole or not there: built beside its place, and moved there at the end."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imagenet_captions.dataset.manifest import is_dataset
from imagenet_captions.dataset.objects import replacing_objects
from imagenet_captions.errors import InputError
from imagenet_captions.files import remove_half_written, remove_tree
from imagenet_captions.storage.places import is_remote

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """Give an empty folder to write to, and put it in the place of `out` if nothing went wrong.

    What a killed run left is cleared away first. Whenever a run is killed, `out` is the old folder, the new one, or
    for the moment of the swap not there while the old one waits in `.NAME.old`, from where the next run takes it.
    Behind a URL, where nothing can be renamed, `objects` says how it is done.

    Raises InputError if another run works on `out`, or if the disk is full; then nothing is left behind.
    """
    if is_remote(out):
        with _room_for(out), replacing_objects(out) as folder:
            yield folder
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    partial, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    with _locked(partial, out):
        if not out.exists() and old.exists():
            old.rename(out)
        remove_tree(old)
        try:
            with _room_for(out):
                yield partial
                remove_half_written(partial)
                if out.exists():
                    out.rename(old)
                partial.rename(out)
                remove_tree(old)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def _room_for(out: Path) -> Iterator[None]:
    """Say in one sentence that a disk is full, this machine's temporary one included."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise InputError(f"no space left to write {out} ({error.strerror}); free some and run it again") from None


def check_output(out: Path, images: Path | None) -> None:
    """Refuse an output folder that holds something else, or that and the images lie one in the other."""
    if is_remote(out) and out.parent == out:
        raise InputError(f"the output {out} is a whole bucket; give a folder in it, such as {out / 'dataset'}")
    if out.exists() and not out.is_dir():
        raise InputError(f"the output {out} is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not is_dataset(out):
        raise InputError(f"the output folder {out} holds something else than a dataset; give a new or empty one")
    if images is None:
        return
    if out.resolve() == images.resolve():
        raise InputError(f"the output folder {out} is the images; give another one")
    if images.resolve() in out.resolve().parents:
        raise InputError(f"the output folder {out} lies inside the images {images}; give one outside")
    check_inside(images, out, "the images")


def check_inside(path: Path, out: Path, what: str) -> None:
    """Refuse an output folder that would take an input away when it is replaced."""
    if out.resolve() in path.resolve().parents:
        raise InputError(f"{what} {path} lie inside the output folder {out}; give another output folder")


@contextmanager
def _locked(partial: Path, out: Path) -> Iterator[None]:
    """Hold the partial folder, emptied, for this run alone; the kernel ends the lock with the process."""
    while True:
        partial.mkdir(exist_ok=True)
        opened = os.open(partial, os.O_RDONLY)
        try:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(f"{out} is being written by another run; wait for it to end, or stop it") from None
            # Another run may have moved its folder into place between our two calls: then the lock is on that one.
            if partial.exists() and os.path.samestat(os.fstat(opened), partial.stat()):
                for left in partial.iterdir():
                    shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
                yield
                return
        finally:
            os.close(opened)
