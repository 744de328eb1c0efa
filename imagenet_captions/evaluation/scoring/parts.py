"""Finished parts of a run, kept in a folder beside its output, so that a killed run goes on after the last of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagenet_captions.storage.files import read_json, remove_tree, replacing, write_json
from imagenet_captions.storage.parquet import write_table

log = logging.getLogger(__name__)

_SETTINGS = "settings.json"


@dataclass(frozen=True)
class Parts:
    """A folder with one Parquet file for each finished part."""

    folder: Path

    @classmethod
    def open(cls, out: Path, settings: Mapping[str, Any]) -> Parts:
        """Open the parts of an output; those of a run with other settings are dropped, and the log says so."""
        folder = out.with_name(f".{out.name}.parts")
        told = folder / _SETTINGS
        if told.is_file() and read_json(told, dict[str, Any]) != settings:
            log.info("an unfinished run for %s had other settings, so its parts are dropped", out)
            remove_tree(folder)
        if not told.is_file():
            remove_tree(folder)
            write_json(told, settings)
        return cls(folder)

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
        """Remove the folder."""
        remove_tree(self.folder)
