"""The export in the format of the published file: a JSON list of filename, wnid, title, description and tags."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagenet_captions.errors import InputError
from imagenet_captions.exports.rows import Job
from imagenet_captions.storage.progress import track

_COLUMNS = ["filename", "wnid", "title", "description", "tags"]
_ROWS_AT_ONCE = 10_000


def write_release(job: Job, path: Path) -> None:
    """Write the texts of the `raw` config, one entry per line, and read the file back."""
    table = job.read(_COLUMNS, "raw")
    with path.open("w", encoding="utf-8", newline="\n") as opened:
        before = "[\n"
        for entry in track(_entries(table), "write", len(table), "rows"):
            opened.write(before + json.dumps(entry))
            before = ",\n"
        opened.write("\n]\n")
    if not _reads_back(path, table):
        raise InputError("the JSON does not read back as it was written, so nothing was exported; please report this")
    job.count("exported", len(table))


def _entries(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _reads_back(path: Path, table: pa.Table) -> bool:
    collecting = gc.isenabled()
    gc.disable()  # garbage collection takes 70 % of json.load's time on such a file and finds nothing
    try:
        with path.open(encoding="utf-8") as opened:
            found = json.load(opened)
    finally:
        if collecting:
            gc.enable()
    written = track(_entries(table), "check", len(table), "rows")
    return len(found) == len(table) and all(one == other for one, other in zip(found, written, strict=True))
