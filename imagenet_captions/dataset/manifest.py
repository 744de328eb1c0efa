"""The manifest of a dataset folder, manifest.json. It is written last, so a folder that has one is whole."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pyarrow as pa

from imagenet_captions.errors import ImagenetCaptionsError, InputError, quoted
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.storage.files import (
    CARD,
    CROISSANT,
    MANIFEST,
    checked,
    private_names,
    read_json,
    require_there,
    sha256,
    write_json,
)
from imagenet_captions.storage.outputs import DATASET_FORMAT
from imagenet_captions.storage.places import Place, is_remote

VERSION = 1
OTHER_FILES = frozenset({CARD, OUTCOMES_FILE, CROISSANT})  # beside the shards
_SHARD = re.compile(r"(?:data|raw)/train-[0-9]{5}-of-[0-9]{5}\.parquet")
_Digits = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}$")]
_SWAP_LOOKS, _SWAP_PAUSE = 20, 0.05  # seconds


@dataclass(frozen=True)
class FileEntry:
    """A file of the dataset; `rows` is None for a file that is not a table."""

    sha256: str
    bytes: int
    rows: int | None


@dataclass(frozen=True)
class Manifest:
    """The inputs, settings, counts and files of a dataset."""

    made_with: Mapping[str, str]  # versions of this package and of pyarrow
    inputs: Mapping[str, str]  # role → SHA-256
    settings: Mapping[str, Any]
    counts: Mapping[str, int]  # outcome → number of inputs
    images: int | None  # rows that have an image; None without an image column
    files: Mapping[str, FileEntry]
    measured: Mapping[str, Any] = field(default_factory=dict)  # what earlier stages counted, for the card

    @property
    def classes(self) -> ClassSet:
        """Return the set of classes that `label` counts over."""
        return ClassSet.recorded(self.settings)

    @property
    def as_published(self) -> bool:
        """Return whether the texts are the published ones, without cleaning."""
        return bool(self.settings.get("as_published"))

    @property
    def shuffled(self) -> int | None:
        """Return the seed of the order of the rows; None if they are sorted by image id."""
        return shuffled_with(self.settings)

    def shards(self, folder: str) -> dict[str, int]:
        """Return the shards in the folder `data` or `raw`, in order, with their numbers of rows."""
        found = {name: entry.rows or 0 for name, entry in self.files.items() if name.startswith(folder + "/")}
        return dict(sorted(found.items()))

    def write(self, folder: Place) -> None:
        """Write the manifest to a dataset folder."""
        write_json(folder / MANIFEST, {"format": DATASET_FORMAT, "version": VERSION, **asdict(self)})


def shuffled_with(settings: Mapping[str, Any]) -> int | None:
    """Return the seed of the last filter that shuffled a dataset with these settings; None if none did."""
    seeds = [step["shuffle"] for step in settings.get("filter", []) if "shuffle" in step]
    return int(seeds[-1]) if seeds else None


class Replaced(InputError):
    """The error for a dataset that was replaced while it was read."""

    def __init__(self, dataset: Place) -> None:
        super().__init__(f"{dataset} was replaced while it was read; run the same command again")


@contextmanager
def unchanged(dataset: Place, digest: str | None = None) -> Iterator[str]:
    """Raise Replaced if a dataset was replaced during the block; yield the digest of its manifest.

    Shards are opened one after the other, so without this check rows could come from two datasets. `digest` is the
    digest of the manifest at an earlier moment; the dataset must be unchanged since.
    """
    look = manifest_digest if digest else _revision
    before = digest or look(dataset)
    try:
        yield (before or "").partition(" ")[0]
    except (ImagenetCaptionsError, OSError, pa.ArrowException):
        if look(dataset) != before:
            raise Replaced(dataset) from None
        raise
    if look(dataset) != before:
        raise Replaced(dataset)


def _revision(dataset: Place) -> str | None:
    """Return a text that changes whenever a dataset is replaced, even by one with the same bytes."""
    digest = manifest_digest(dataset)
    if digest is None or is_remote(dataset):
        return digest
    try:
        found = (dataset / MANIFEST).stat()
    except OSError:
        return None
    return f"{digest} {found.st_ino} {found.st_ctime_ns}"


def manifest_digest(dataset: Place) -> str | None:
    """Return the SHA-256 of a dataset's manifest, or None without one; wait while the dataset is being replaced."""
    _wait_for_swap(dataset)
    if not is_remote(dataset) and not (dataset / MANIFEST).is_file():
        return None
    try:
        return sha256(dataset / MANIFEST)
    except OSError:
        return None


def _wait_for_swap(dataset: Place) -> None:
    """Wait until a dataset is in place, for a second at most; `storage.outputs` explains how one is replaced."""
    if is_remote(dataset):
        return
    here = Path(os.path.realpath(dataset))
    for _ in range(_SWAP_LOOKS):
        if here.exists() or not here.parent.is_dir() or not private_names(here, "old"):
            return
        time.sleep(_SWAP_PAUSE)


class _Step(msgspec.Struct):
    shuffle: int = 0


class _Settings(msgspec.Struct):
    """The settings that a command reads again; the others are only shown."""

    classes: ClassSet = ClassSet.ILSVRC2012
    caption: str | None = None
    filter: list[_Step] = []


class _Survival(msgspec.Struct):
    years: dict[_Digits, tuple[int, int]] = {}
    licenses: dict[_Digits, int] = {}


class _Measured(msgspec.Struct):
    survival: _Survival = msgspec.field(default_factory=_Survival)


class _Details(msgspec.Struct):
    """What the code reads in the parts that `Manifest` takes as they are."""

    settings: _Settings
    measured: _Measured | None = None


def read_manifest(folder: Place) -> Manifest:
    """Read a dataset's manifest. Raises InputError if there is none that this version can read.

    It lists files of a dataset alone, and none of them is a link that leads out of the folder.
    """
    _wait_for_swap(folder)
    record = (folder if is_remote(folder) else require_there(folder, "the dataset")) / MANIFEST
    content = read_json(record, dict[str, Any], "the manifest") if record.is_file() else {}
    if content.get("format") != DATASET_FORMAT:
        raise InputError(f"{folder} has no {MANIFEST} of a dataset made by `imagenet-captions package`; check the path")
    if "unfinished" in content:
        raise InputError(f"{folder} is not finished: a run is writing it, or was stopped; run the same command again")
    if content.get("version") != VERSION:
        raise InputError(f"{folder} was made by another version of imagenet-captions; package it again")
    checked(content, _Details, f"the manifest {record}")
    manifest = checked(content, Manifest, f"the manifest {record}")
    for name in manifest.files:
        if not _SHARD.fullmatch(name) and name not in OTHER_FILES:
            raise InputError(
                f"the manifest {record} lists {quoted(name)}, which is not a file of a dataset; correct it"
            )
        if not is_remote(folder) and not _is_inside(folder, name):
            raise InputError(f"{folder / name} is a link that leads out of the dataset; put the file itself there")
    data, raw = (manifest.shards(config) for config in ("data", "raw"))
    if not data or not raw or sum(data.values()) != sum(raw.values()):
        raise InputError(f"the manifest {record} lists other rows in data/ than in raw/; package the dataset again")
    return manifest


def _is_inside(folder: Path, name: str) -> bool:
    """Return whether a file is in the folder, or where the Hub's cache keeps the files of a downloaded dataset."""
    here = Path(os.path.realpath(folder))
    blobs = here.parent.parent / "blobs" if here.parent.name == "snapshots" else None
    found = Path(os.path.realpath(folder / name))
    return found == here / name or found.parent == blobs


def shard_files(dataset: Place, folder: str = "data", manifest: Manifest | None = None) -> list[Place]:
    """Return the paths of the shards in `data` or `raw`, in order. Raises InputError if one is missing or cut short.

    `manifest` is the dataset's, if the caller has read it.
    """
    manifest = manifest or read_manifest(dataset)
    found = {name: dataset / name for name in manifest.shards(folder)}
    if not is_remote(dataset):  # an object in a store is never cut short
        require_whole(dataset, {name: manifest.files[name] for name in found})
    return list(found.values())


def require_whole(dataset: Place, files: Mapping[str, FileEntry]) -> None:
    """Raise InputError if a file of a dataset is missing or has another size than when it was written."""
    for name, entry in files.items():
        path = dataset / name
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise InputError(f"{dataset} is damaged: {name} is not there whole; copy or package it again")
