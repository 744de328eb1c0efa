"""Writing a folder as a whole or not at all: it is built beside its place and moved there at the end."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagenet_captions.dataset.objects import replacing_objects
from imagenet_captions.errors import DiskFullError, InputError
from imagenet_captions.storage.faults import FULL
from imagenet_captions.storage.file_names import MANIFEST
from imagenet_captions.storage.files import remove_half_written, remove_tree, walk
from imagenet_captions.storage.locks import holding
from imagenet_captions.storage.outputs import check_place
from imagenet_captions.storage.patterns import each_file
from imagenet_captions.storage.places import Place, is_remote, resolve_links
from imagenet_captions.storage.receipts import has_receipt, is_dataset, is_receipt, names_in

_FULL = FULL | {errno.EFBIG}


@contextmanager
def replacing_folder(out: Place) -> Iterator[Place]:
    """Yield an empty folder to write to, and move it to `out` if the block succeeds.

    The remains of a killed run are removed first. If this run is killed, `out` is the old folder or the new one. Only
    between the two renames it is missing: the old folder is then `.NAME.old`, and the next run moves it back.
    Behind a URL, where nothing can be renamed, `objects` does it in another way.

    Raises InputError if another run works on `out`, and DiskFullError if the disk is full; then nothing is left behind.
    """
    if is_remote(out):
        with holding([out]), _room_for(out), replacing_objects(out) as folder:
            yield folder
        return
    here = Path(os.path.realpath(out))  # a link stays, and the folder that it leads to is replaced
    here.parent.mkdir(parents=True, exist_ok=True)
    partial, old = here.with_name(f".{here.name}.partial"), here.with_name(f".{here.name}.old")
    with holding([out]):
        if not here.exists() and old.exists():
            old.rename(here)
        remove_tree(old)
        remove_tree(partial)
        partial.mkdir()
        try:
            with _room_for(out):
                yield partial
                remove_half_written(partial)
                if here.exists():
                    here.rename(old)
                partial.rename(here)
                remove_tree(old)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def _room_for(out: Place) -> Iterator[None]:
    """Turn the error of a full disk, the one for temporary files included, into a DiskFullError."""
    try:
        yield
    except OSError as error:
        if not isinstance(error, DiskFullError) and error.errno not in _FULL:
            raise
        reason = error.strerror or "No space left on device"
        raise DiskFullError(f"no space left to write {out} ({reason}); free some and run it again") from None


def check_dataset_output(out: Place, inputs: Iterable[Place | None]) -> None:
    """Refuse an output that is an input, lies inside or around one, or is a folder with anything but a dataset."""
    check_folder(out, inputs)
    if not _holds_something(out):
        return
    if not is_dataset(out):
        raise InputError(f"the output folder {out} holds something else than a dataset; give a new or empty one")
    check_only(out, names_in(out / MANIFEST) | {MANIFEST})


def check_export_output(out: Place, receipt: Place, inputs: Iterable[Place | None]) -> None:
    """Refuse an output for an exported folder as above; an existing one must match its receipt."""
    check_folder(out, inputs)
    check_place(receipt, [path for path in inputs if path is not None])
    if receipt.exists() and not is_receipt(receipt):
        raise InputError(f"{receipt} is not a receipt of an export and would be lost; give another name")
    if not _holds_something(out):
        return
    if not has_receipt(out, receipt):
        raise InputError(f"the output folder {out} holds other files than an earlier export; give a new or empty one")
    check_only(out, names_in(receipt))


def check_folder(out: Place, inputs: Iterable[Place | None]) -> None:
    """Refuse an output folder that cannot be created, is an input, or lies inside or around one."""
    if is_remote(out) and out.parent == out:
        raise InputError(f"the output {out} is a whole bucket; give a folder in it, such as {out / 'dataset'}")
    given = list(each_file(path for path in inputs if path is not None))
    check_place(out, given)
    if out.exists() and not out.is_dir():
        raise InputError(f"the output {out} is a file; give a folder")
    for path in given:
        if resolve_links(out) in resolve_links(path).parents:
            raise InputError(f"the input {path} lies inside the output {out}; give another place")


def check_only(out: Place, known: frozenset[str]) -> None:
    """Refuse a folder of ours that has a file we did not write, because replacing the folder would remove it."""
    if len(known) > 1:
        for _, name in walk(out):
            if name not in known:
                raise InputError(f"the output folder {out} holds {name}, which is not ours; move it elsewhere")


def _holds_something(out: Place) -> bool:
    return out.is_dir() and any(out.iterdir())
