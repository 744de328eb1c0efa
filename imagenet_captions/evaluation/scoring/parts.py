"""Finished parts of a run, kept in a folder beside its output, so that a killed run goes on after the last of them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagenet_captions.storage.files import alive, is_alive, private_names, replacing
from imagenet_captions.storage.parquet import write_table


@dataclass(frozen=True)
class Parts:
    """A folder with one Parquet file for each finished part; its name has a digest of the settings."""

    folder: Path

    @classmethod
    @contextmanager
    def open(cls, out: Path, settings: Mapping[str, Any]) -> Iterator[Parts]:
        """Open the parts of an output, and drop those of unfinished runs with other settings."""
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        folder = out.with_name(f".{out.name}.{digest}.parts")
        folder.mkdir(exist_ok=True)
        with alive(folder):
            for other in private_names(out, "parts"):
                cls(other).remove()
            yield cls(folder)

    def path(self, number: int) -> Path:
        """Return the file of a part."""
        return self.folder / f"{number:06d}.parquet"

    def missing(self, count: int) -> list[int]:
        """Return the numbers of the parts that are not finished, of `count` in all."""
        return [number for number in range(count) if not self.path(number).is_file()]

    def write(self, number: int, table: pa.Table) -> None:
        """Write a part, whole or not at all."""
        with replacing(self.path(number)) as partial:
            write_table(table, partial)

    def remove(self) -> None:
        """Remove the folder, unless a run works with it."""
        if not is_alive(self.folder):
            shutil.rmtree(self.folder)
