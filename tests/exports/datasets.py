"""Datasets to export, made here, and a guard for reading shards back."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_captions.packager.package import PackageSettings, package
from tests.packager.made import write_captions

TENCH = "n01440764"


def ids(count: int) -> list[str]:
    """Ids in the dataset's order."""
    return [f"{TENCH}_{number:06d}" for number in range(count)]


@contextmanager
def files_left_open() -> Iterator[None]:
    """Both webdataset and open_clip leave their files to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def dataset(
    folder: Path,
    captions: Sequence[str],
    images: Path | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> Path:
    """A dataset of one row a caption, other columns as given."""
    file = write_captions(folder / "captions.parquet", ids(len(captions)))
    table = pq.read_table(file)
    for name, values in {"caption": captions, "owner": ["9@N00"] * len(captions), **(columns or {})}.items():
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    pq.write_table(table, file)
    package(file, folder / "dataset", PackageSettings(images=images))
    return folder / "dataset"
