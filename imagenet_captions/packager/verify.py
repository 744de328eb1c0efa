"""Check a dataset folder against its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.outcomes import first_repeated
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.dataset.shards import Shards
from imagenet_captions.dataset.writing import dataset_schema, local_labels, with_local_labels
from imagenet_captions.errors import InputError, quoted
from imagenet_captions.outcomes import OUTCOMES, OUTCOMES_FILE, Outcome
from imagenet_captions.schema import RAW_ROW, ROW
from imagenet_captions.storage.files import CARD, MANIFEST, sha256, walk
from imagenet_captions.storage.parquet import read_schema, read_table
from imagenet_captions.storage.places import PlaceLike, place
from imagenet_captions.storage.progress import progress

_REQUIRED = frozenset({CARD, OUTCOMES_FILE})  # datasets of before November 2026 have no description


@dataclass(frozen=True)
class Verified:
    """The size of a dataset that was found whole."""

    files: int
    rows: int
    images: int | None

    def __str__(self) -> str:
        images = "" if self.images is None else f", {self.images:,} images"
        return f"whole: {self.files} files, {self.rows:,} rows{images}"


def verify(dataset: PlaceLike) -> Verified:
    """Read every byte of a dataset again and compare: hashes, schema, order, ids of both configs, outcomes.

        ic.verify("imagenet-captions").rows

    Raises InputError that names the first bad file and how many there are.
    """
    shards = Shards(place(dataset))
    problems = list(_damaged(shards)) or list(_contradictions(shards))
    if problems:
        file, what = problems[0]
        others = len({name for name, _ in problems} - {file})
        more = f", and {others} more files are bad" if others else ""
        raise InputError(f"{shards.dataset} is damaged: {file} {what}{more}; package it again")
    return Verified(len(shards.manifest.files), shards.rows, shards.manifest.images)


def _damaged(shards: Shards) -> Iterator[tuple[str, str]]:
    """Yield files that are not as they were written or do not belong there, each with what is wrong.

    `load_dataset` would take another Parquet file in data/ for a shard.
    """
    dataset, files = shards.dataset, shards.manifest.files
    for name in sorted(_REQUIRED - files.keys()):
        yield MANIFEST, f"does not list {name}"
    for _, name in walk(dataset):
        inside = name.startswith(("data/", "raw/")) or name.endswith(".parquet")
        if inside and name not in files:
            yield name, "is not in the manifest"
    with progress("verify", sum(entry.bytes for entry in files.values()), "B") as bar:
        for name, entry in sorted(files.items()):
            path = dataset / name
            if not path.is_file():
                yield name, "is missing"
            elif (size := path.stat().st_size) != entry.bytes:
                yield name, f"has {size:,} bytes, not {entry.bytes:,}"
            elif sha256(path) != entry.sha256:
                yield name, "has other bytes than when it was written"
            bar.update(entry.bytes)


def _contradictions(shards: Shards) -> Iterator[tuple[str, str]]:
    """Yield contradictions between files whose bytes are all as they were written."""
    manifest = shards.manifest
    images, seed = manifest.images is not None, manifest.shuffled
    ids = {}
    for config, row in (("data", ROW), ("raw", RAW_ROW)):
        names, tables = manifest.shards(config), []
        for name, rows in names.items():
            found = read_schema(shards.dataset / name)
            schema = dataset_schema(row, images and config == "data", manifest.classes)
            if (local := local_labels(found)) is not None:
                schema = with_local_labels(schema, local)
            if not found.equals(schema) or found.metadata != schema.metadata:
                yield name, "has another schema than this version writes"
                return
            tables.append(read_table(shards.dataset / name, columns=["image_id"]))
            if len(tables[-1]) != rows:
                yield name, "has another number of rows than the manifest says"
        found_ids = ids[config] = pa.concat_tables(tables)["image_id"].combine_chunks()
        if seed is None:
            if len(found_ids) > 1 and not pc.all(pc.less(found_ids[:-1], found_ids[1:])).as_py():
                yield next(iter(names)), "and its other shards are not sorted by image id"
        elif not np.array_equal(seeded_order(found_ids.to_pylist(), seed), np.arange(len(found_ids))):
            yield next(iter(names)), f"and its other shards are not in the order of the seed {seed}"
    if not ids["data"].equals(ids["raw"]):
        yield "raw/", "has other ids than data/"
    outcomes = read_table(shards.outcomes)
    if outcomes.schema.names != OUTCOMES.names:
        yield OUTCOMES_FILE, "has other columns than this version writes"
        return
    if (twice := first_repeated(outcomes)) is not None:
        yield OUTCOMES_FILE, f"has two outcomes for {quoted(twice)}"
    kept = outcomes.filter(pc.equal(outcomes["outcome"], Outcome.KEPT.value))["image_id"].combine_chunks()
    if not kept.equals(ids["data"] if seed is None else ids["data"].take(pc.sort_indices(ids["data"]))):
        yield OUTCOMES_FILE, "keeps other ids than data/ has"
    counted = outcomes.group_by("outcome").aggregate([("count", "sum")])
    if dict(zip(counted["outcome"].to_pylist(), counted["count_sum"].to_pylist(), strict=True)) != manifest.counts:
        yield OUTCOMES_FILE, "has other counts than the manifest"
