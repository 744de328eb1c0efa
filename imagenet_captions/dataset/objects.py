"""Replacing a folder behind a URL as a whole, where nothing can be renamed or locked.

A store writes an object as a whole or not at all, but a folder is many objects. So the new objects are written beside
their place, under a name of this run, and copied within the store at the end. A dataset is whole if it has a manifest:
the old manifest is marked unfinished before any object is replaced, and the new one is written last.

    killed while the new one is written   the old dataset, whole
    killed while it is copied             a manifest that says `unfinished`, which no reader takes for a dataset
    killed after the manifest             the new dataset, whole

In each case the same command, run again, ends with the new dataset and removes the remains of the killed run.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from imagenet_captions.dataset.manifest import is_unfinished_by, mark_unfinished
from imagenet_captions.errors import ImagenetCaptionsError, InputError
from imagenet_captions.storage.file_names import MANIFEST
from imagenet_captions.storage.remote import RemotePath, copy_all, remove_all


@contextmanager
def replacing_objects(out: RemotePath) -> Iterator[RemotePath]:
    """Yield an empty folder to write to, and replace the objects of `out` by its objects if the block succeeds."""
    beside = out.with_name(f".{out.name}.partial")
    remove_all(beside)
    run = secrets.token_hex(8)
    try:
        yield beside / run
        _take_place(beside / run, out, run)
    finally:
        with suppress(ImagenetCaptionsError):  # an earlier error is more important
            remove_all(beside / run)


def _take_place(new: RemotePath, out: RemotePath, run: str) -> None:
    sizes = {name: size for _, name, size, _ in new.below()}
    has_manifest = sizes.pop(MANIFEST, None) is not None
    if has_manifest:
        mark_unfinished(out, run)
    copy_all([(new / name, out / name) for name in sizes])
    found = {name: size for _, name, size, _ in out.below() if name != MANIFEST}
    for name in found.keys() - sizes.keys():
        (out / name).unlink(missing_ok=True)
    alone = not has_manifest or is_unfinished_by(out, run)
    if not alone or any(found.get(name) != size for name, size in sizes.items()):
        raise InputError(f"another run wrote to {out} at the same time; run the same command again, alone")
    if has_manifest:
        (new / MANIFEST).copy_to(out / MANIFEST)
