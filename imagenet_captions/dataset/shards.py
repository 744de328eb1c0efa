"""A dataset folder, opened once: its manifest, which is written last and so shows a whole folder, and its shards."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import msgspec
import pyarrow as pa

from imagenet_captions.errors import ImagenetCaptionsError, InputError, quoted
from imagenet_captions.imagenet.classes import ClassSet
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.schema import ROW
from imagenet_captions.storage.files import (
    CARD,
    CROISSANT,
    MANIFEST,
    checked,
    require_there,
    write_json,
)
from imagenet_captions.storage.outputs import DATASET_FORMAT
from imagenet_captions.storage.parquet import read_files, read_schema
from imagenet_captions.storage.places import Place, is_remote

VERSION = 1
OTHER_FILES = frozenset({CARD, OUTCOMES_FILE, CROISSANT})  # beside the shards
NEVER_NULL = frozenset(field.name for field in ROW if not field.nullable)
_SHARD = re.compile(r"(?:data|raw)/train-[0-9]{5}-of-[0-9]{5}\.parquet")


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
        """Return the seed of the last filter that shuffled the rows; None if they are sorted by image id."""
        seeds = [step["shuffle"] for step in self.settings.get("filter", []) if "shuffle" in step]
        return int(seeds[-1]) if seeds else None

    def shards(self, config: str) -> dict[str, int]:
        """Return the shards in the folder `data` or `raw`, in order, with their numbers of rows."""
        found = {name: entry.rows or 0 for name, entry in self.files.items() if name.startswith(config + "/")}
        return dict(sorted(found.items()))

    def write(self, folder: Place) -> None:
        """Write the manifest to a dataset folder."""
        content = asdict(self)
        own = {each.name: content[each.name] for each in fields(Manifest)}
        write_json(folder / MANIFEST, {"format": DATASET_FORMAT, "version": VERSION, **own})


class Replaced(InputError):
    """The error for a dataset that was replaced while it was read."""


class Shards:
    """A dataset: its manifest, which is read and checked at once, and its shards, which are opened when they are read.

    `digest` is the SHA-256 of the manifest, by which records name the dataset.

    Raises InputError for a folder without a manifest that this version can read, and lists files of a dataset alone.
    """

    def __init__(self, dataset: Place) -> None:
        self.dataset = dataset
        found, self._revision = _read_manifest(dataset)
        self.digest = hashlib.sha256(found or b"").hexdigest()
        if found is None and not is_remote(dataset):
            require_there(dataset, "the dataset")
        where = f"the manifest {dataset / MANIFEST}"
        content = {} if found is None else checked(found, dict[str, Any], where)
        if content.get("format") != DATASET_FORMAT:
            made = f"{MANIFEST} of a dataset made by `imagenet-captions package`"
            raise InputError(f"{dataset} has no {made}; check the path")
        if "unfinished" in content:
            raise InputError(
                f"{dataset} is not finished: a run is writing it, or was stopped; run the same command again"
            )
        if content.get("version") != VERSION:
            raise InputError(f"{dataset} was made by another version of imagenet-captions; package it again")
        checked(content, _Details, where)
        self.manifest = checked(content, Manifest, where)
        for name in self.manifest.files:
            if not _SHARD.fullmatch(name) and name not in OTHER_FILES:
                raise InputError(f"{where} lists {quoted(name)}, which is not a file of a dataset; correct it")
        data, raw = (self.manifest.shards(config) for config in ("data", "raw"))
        if not data or not raw or sum(data.values()) != sum(raw.values()):
            raise InputError(f"{where} lists other rows in data/ than in raw/; package the dataset again")

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return sum(self.manifest.shards("data").values())

    @property
    def outcomes(self) -> Place:
        """Return the path of the file that says how every input ended."""
        return self.dataset / OUTCOMES_FILE

    def files(self, config: str = "data") -> list[Place]:
        """Return the paths of the shards in `data` or `raw`, in order; raise InputError if one is not there whole."""
        names = self.manifest.shards(config)
        self.require_whole(names)
        return [self.dataset / name for name in names]

    def schema(self, config: str = "data") -> pa.Schema:
        """Return the schema of the shards, with its metadata."""
        return read_schema(self.files(config)[0])

    def read(self, columns: Sequence[str], config: str = "data", rows: int = 1 << 16) -> Iterator[pa.RecordBatch]:
        """Yield some columns of all rows, in order, in batches of at most `rows`; raise InputError for a null text."""
        for batch in read_files(self.files(config), rows, columns):
            for name in NEVER_NULL.intersection(batch.schema.names):
                if batch.column(name).null_count:
                    raise InputError(f"{self.dataset} is damaged: {name} has nulls; package it again")
            yield batch

    def require_whole(self, names: Iterable[str] | None = None) -> None:
        """Raise InputError if a file, of all or of these, is missing or has another size than when it was written."""
        if is_remote(self.dataset):  # an object in a store is never cut short
            return
        for name in self.manifest.files if names is None else names:
            path = self.dataset / name
            if not path.is_file() or path.stat().st_size != self.manifest.files[name].bytes:
                raise InputError(f"{self.dataset} is damaged: {name} is not there whole; copy or package it again")

    @contextmanager
    def unchanged(self) -> Iterator[Shards]:
        """Raise Replaced if the dataset was replaced since it was opened, or is during the block.

        Shards are opened one after the other, so without this check rows could come from two datasets.
        """
        try:
            yield self
        except (ImagenetCaptionsError, OSError, pa.ArrowException):
            self._require_same()
            raise
        self._require_same()

    def _require_same(self) -> None:
        if _read_manifest(self.dataset)[1] != self._revision:
            raise Replaced(f"{self.dataset} was replaced while it was read; run the same command again") from None


def _read_manifest(dataset: Place) -> tuple[bytes | None, Any]:
    """Return the manifest, None if there is none, and what tells it from one that replaces it, with equal bytes too."""
    record = dataset / MANIFEST
    try:
        if not record.is_file():
            return None, None
        if is_remote(record):
            content = record.read_bytes()
            return content, content
        found = record.stat()
        return record.read_bytes(), (found.st_ino, found.st_ctime_ns)
    except FileNotFoundError:  # while it is being replaced
        return None, None


class _Step(msgspec.Struct):
    shuffle: int = 0


class _Settings(msgspec.Struct):
    """The settings that a command reads again; the others are only shown."""

    classes: ClassSet = ClassSet.ILSVRC2012
    caption: str | None = None
    filter: list[_Step] = []


class _Survival(msgspec.Struct):
    years: dict[str, tuple[int, int]] = {}
    licenses: dict[str, int] = {}


class _Measured(msgspec.Struct):
    survival: _Survival | None = None


class _Details(msgspec.Struct):
    """What the code reads in the settings and counts, which `Manifest` takes as they are."""

    settings: _Settings
    measured: _Measured | None = None
