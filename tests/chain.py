"""Runs the real command line over the bundled sample, for the tests of whole chains."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from imagenet_captions.demo.run import SAMPLE


def answerable_photos() -> dict[str, Any]:
    """The sample's answers, without the photo for which Flickr never gives one."""
    photos: dict[str, Any] = json.loads((SAMPLE / "photos.json").read_text(encoding="utf-8"))
    for answer in photos.values():
        if answer.get("code") == 105:
            answer.update(code=1, message="Photo not found")
    return photos


def build_arguments(out: Path, endpoint: str, *more: str) -> list[str]:
    """`build` over the sample's URL list, with its images."""
    arguments = ["build", "--urls", SAMPLE / "urls.txt", "--ids", SAMPLE / "ids.txt", "--images", SAMPLE / "train"]
    arguments += ["--missing", "skip", "--endpoint", endpoint, "--out", out, *more]
    arguments += [] if "--rate" in more else ["--rate", "50/s"]
    return [str(argument) for argument in arguments]


def stages_said(stderr: str) -> list[str]:
    """What a build said of its stages; every other line must be one of progress, and nobody else's."""
    lines = stderr.splitlines()
    others = [line for line in lines if not re.fullmatch(r"(clean|package)( \.\.\.|: nothing changed, kept)", line)]
    progress = r"checking whether .*|(write|package|find images): [0-9,]+ (rows|images)"
    assert all(re.fullmatch(progress, line) for line in others), stderr
    return [line for line in lines if line not in others]


def dataset_tables(dataset: Path) -> dict[str, pa.Table]:
    """All Parquet files of a dataset but for the one column that tells when an answer came."""
    tables = {}
    for path in sorted(dataset.rglob("*.parquet")):
        table = pq.read_table(path).replace_schema_metadata()
        if "retrieved_at" in table.column_names:
            table = table.drop_columns(["retrieved_at"])
        tables[path.relative_to(dataset).as_posix()] = table
    return tables
