"""Check outputs before any work, and publish them at the end: the one rule for everything that this package writes.

An output that is an input, or lies in one, is refused before any work. So is a file that another program wrote, unless
`overwrite` allows it, and anything that is not a regular file or a folder. An output is ours if its Parquet metadata
says so, or if a receipt beside it holds its SHA-256 (`receipts`).

    with producing([out], inputs=[table], receipt=receipt_path(out)) as new:
        new.files[0].write_text(...)       # a private name; it takes the place of `out` at the end
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagenet_captions.errors import InputError
from imagenet_captions.outcomes import OUTCOMES
from imagenet_captions.schema import PHOTOS, provenance
from imagenet_captions.storage.faults import reason_of
from imagenet_captions.storage.files import is_sqlite, replacing, sha256
from imagenet_captions.storage.locks import holding
from imagenet_captions.storage.parquet import read_schema
from imagenet_captions.storage.patterns import each_file
from imagenet_captions.storage.places import Place, is_remote, resolve_links
from imagenet_captions.storage.receipts import has_receipt, is_dataset, is_receipt, receipt_path, write_receipt

_OF_THE_SYSTEM = (("dev",), ("proc",), ("sys",))
# Parquet files of ours that carry no metadata, known by their columns.
_UNMARKED = (OUTCOMES.names, PHOTOS.names)


@dataclass(frozen=True)
class Production:
    """The files that a run is writing, and what their receipt will say beside the hashes."""

    files: tuple[Path, ...]
    about: dict[str, Any] = field(default_factory=dict)


@contextmanager
def producing(
    outputs: Sequence[Place],
    inputs: Iterable[Place | None] = (),
    overwrite: bool = False,
    receipt: Place | None = None,
) -> Iterator[Production]:
    """Check and hold outputs, give private names to write them under, and publish all of them at the end.

    The outputs take their places in the order given, after every one of them is whole. Without a receipt the files must
    carry our Parquet metadata. If anything goes wrong, what was there stays as it was.

    Raises InputError, before any work, for an output that must not be written or that another run writes.
    """
    written = [*outputs, *([] if receipt is None else [receipt])]
    with holding(written), ExitStack() as stack:
        check_files(outputs, inputs, overwrite, receipt)
        # The last one that is entered is the first to take its place.
        partials = [_begin(path, stack) for path in reversed(outputs)][::-1]
        new = Production(tuple(partials))
        yield new
        if receipt is not None:
            files = {path.name: sha256(partial) for path, partial in zip(outputs, partials, strict=True)}
            replaced = {path.name: sha256(path) for path in outputs if path.is_file()}
            if replaced:
                write_receipt(receipt, files, new.about, replaced)
            stack.close()
            write_receipt(receipt, files, new.about)


@contextmanager
def producing_each(
    outputs: Sequence[Place], inputs: Iterable[Place | None] = (), overwrite: bool = False
) -> Iterator[list[Path]]:
    """Do the same for files that each have a receipt of their own; give the private names."""
    receipts = [receipt_path(path) for path in outputs]
    check_distinct([*outputs, *receipts])
    given = list(inputs)
    with ExitStack() as stack:
        pairs = zip(outputs, receipts, strict=True)
        yield [stack.enter_context(producing([path], given, overwrite, receipt)).files[0] for path, receipt in pairs]


def _begin(path: Place, stack: ExitStack) -> Path:
    """Make the private file that will replace an output, so that missing permissions are found before the work."""
    try:
        partial = stack.enter_context(replacing(resolve_links(path)))
        partial.touch()
    except OSError as error:
        raise InputError(f"the output {path} cannot be written: {reason_of(error)}") from None
    return partial


def check_files(
    outputs: Sequence[Place],
    inputs: Iterable[Place | None] = (),
    overwrite: bool = False,
    receipt: Place | None = None,
) -> None:
    """Refuse output files that must not be written; nothing is changed."""
    given = [path for path in inputs if path is not None]
    written = [*outputs, *([] if receipt is None else [receipt])]
    check_distinct(written)
    for path in written:
        check_place(path, given)
        if path.is_dir():
            raise InputError(f"the output {path} is a folder; give the name of a file")
        if path.exists():
            _check_replaceable(path, overwrite, receipt)


def check_distinct(outputs: Iterable[Place]) -> None:
    """Refuse two outputs under one name."""
    seen: dict[str, Place] = {}
    for path in outputs:
        first = seen.setdefault(str(resolve_links(path)), path)
        if first is not path:
            raise InputError(f"the output {path} is to be written twice; give each output a name of its own")


def check_place(out: Place, inputs: Iterable[Place]) -> None:
    """Refuse an output that cannot be where it should be, that is an input, or that lies in one.

    No output goes into a dataset either: it stays as its manifest says.
    """
    if not is_remote(out):
        _check_path(out)
        for folder in Path(os.path.realpath(out)).parents:
            if is_dataset(folder):
                raise InputError(f"the output {out} lies inside the dataset {folder}; give a place outside")
    for given in each_file(inputs):
        try:
            if is_remote(out) != is_remote(given) or not (is_remote(given) or given.exists()):
                continue
            here, there = resolve_links(out), resolve_links(given)
            same = here == there or (not is_remote(out) and out.exists() and out.samefile(str(given)))
        except OSError:  # an input that cannot be followed is refused where it is read
            continue
        if same:
            raise InputError(f"the output {out} is the input {given} itself; give another name")
        if there in here.parents:
            raise InputError(f"the output {out} lies inside the input {given}; give a place outside")


def _check_path(out: Path) -> None:
    """Refuse a path where this package cannot write a file or folder."""
    if out.name in ("", ".."):
        raise InputError(f"the output {str(out)!r} has no name of its own; give one, such as {out / 'new'}")
    if Path(os.path.abspath(out)).parts[1:2] in _OF_THE_SYSTEM and not str(out).startswith("/dev/shm/"):  # noqa: PTH100
        raise InputError(f"the output {out} is the system's, not a place for files; give another name")
    try:
        found = os.stat(out)  # noqa: PTH116
    except FileNotFoundError:
        if out.is_symlink():
            raise InputError(f"the output {out} is a link to nothing; remove it, or give another name") from None
        _check_parent(out)
        return
    except NotADirectoryError:
        _check_parent(out)
        return
    except OSError as error:
        raise InputError(f"the output {out} cannot be used: {reason_of(error)}") from None
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise InputError(f"the output {out} is a device, pipe or socket, which is never replaced; give another name")


def _check_parent(out: Path) -> None:
    """Refuse a path one of whose folders is a file."""
    for parent in out.parents:
        if os.path.lexists(parent):
            if not parent.is_dir():
                raise InputError(f"the output {out} cannot be there: {parent} is not a folder; give another place")
            return


def _check_replaceable(path: Place, overwrite: bool, receipt: Place | None) -> None:
    if not is_remote(path) and is_sqlite(path):
        raise InputError(
            f"the output {path} is an SQLite database, such as a crawl's store, and these are never replaced; "
            "give another name"
        )
    if (overwrite and path != receipt) or _is_ours(path, receipt):
        return
    if path == receipt:
        raise InputError(f"{path} is there, where the receipt of the output would lie; give the output another name")
    raise InputError(
        f"the output {path} is there and was not written by imagenet-captions, or was changed since; "
        "give another name, or `overwrite=True` to replace it"
    )


def _is_ours(path: Place, receipt: Place | None) -> bool:
    if receipt is not None:
        return is_receipt(path) if path == receipt else has_receipt(path, receipt)
    try:
        schema = read_schema(path)
    except InputError:  # not Parquet
        return False
    return bool(provenance(schema)) or schema.names in _UNMARKED
