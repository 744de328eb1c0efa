"""Datasets to export, made here, and a guard for reading shards back."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from imagenet_captions.packager.package import PackageSettings, package
from tests.packager.made import caption_row, write_rows

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
    given = {"caption": captions, "owner": ["9@N00"] * len(captions), **(columns or {})}
    rows = [caption_row(image_id) for image_id in ids(len(captions))]
    for name, values in given.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    package(write_rows(folder / "captions.parquet", rows), folder / "dataset", PackageSettings(images=images))
    return folder / "dataset"
