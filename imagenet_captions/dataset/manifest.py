"""The manifest of a dataset folder, manifest.json. It is written last, so a folder that has one is whole."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagenet_captions.errors import ImagenetCaptionsError, InputError
from imagenet_captions.imagenet.class_sets import ClassSet
from imagenet_captions.storage.files import MANIFEST, require_there, sha256, write_json
from imagenet_captions.storage.outputs import DATASET_FORMAT, folders_left, manifest_content
from imagenet_captions.storage.places import Place, is_remote

VERSION = 1
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
def unchanged(dataset: Place, digest: str | None = None) -> Iterator[None]:
    """Raise Replaced if a dataset was replaced during the block.

    Shards are opened one after the other, so without this check rows could come from two datasets. `digest` is the
    digest of the manifest at an earlier moment; the dataset must be unchanged since.
    """
    look = manifest_digest if digest else _revision
    before = digest or look(dataset)
    try:
        yield
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
        if here.exists() or not here.parent.is_dir() or not folders_left(here, "old"):
            return
        time.sleep(_SWAP_PAUSE)


def read_manifest(folder: Place) -> Manifest:
    """Read a dataset's manifest. Raises InputError if there is none that this version can read."""
    _wait_for_swap(folder)
    content = manifest_content(folder)
    if not content:
        if not is_remote(folder) and (require_there(folder, "the dataset") / MANIFEST).is_file():
            (folder / MANIFEST).read_bytes()  # raises the system's error if the file must not be read
        raise InputError(f"{folder} has no {MANIFEST} of a dataset made by `imagenet-captions package`; check the path")
    if "unfinished" in content:
        raise InputError(f"{folder} is not finished: a run is writing it, or was stopped; run the same command again")
    if content.get("version") != VERSION:
        raise InputError(f"{folder} was made by another version of imagenet-captions; package it again")
    del content["format"], content["version"]
    try:
        files = {str(name): FileEntry(**entry) for name, entry in content.pop("files").items()}
        manifest = Manifest(files=files, **content)
        if not all(isinstance(count, int) for count in manifest.counts.values()):
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / MANIFEST} is damaged; package the dataset again") from None
    return manifest


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
