"""Check a dataset folder against its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagenet_captions.dataset.outcomes import first_repeated
from imagenet_captions.dataset.sampling import seeded_order
from imagenet_captions.dataset.shards import Manifest, Shards
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


class _Problem(NamedTuple):
    file: str
    what: str


def verify(dataset: PlaceLike) -> Verified:
    """Read every byte of a dataset again and compare: hashes, schema, order, ids of both configs, outcomes.

        ic.verify("imagenet-captions").rows

    Raises InputError that names the first bad file and how many there are.
    """
    shards = Shards(place(dataset))
    problems = [*_strangers(shards), *_damaged(shards)]
    if not problems:
        problems = list(_contradictions(shards))
    if problems:
        first = problems[0]
        others = len({problem.file for problem in problems} - {first.file})
        more = f", and {others} more files are bad" if others else ""
        raise InputError(f"{shards.dataset} is damaged: {first.file} {first.what}{more}; package it again")
    return Verified(len(shards.manifest.files), shards.rows, shards.manifest.images)


def _strangers(shards: Shards) -> Iterator[_Problem]:
    """Yield files that do not belong there; load_dataset would take another Parquet file in data/ for a shard."""
    dataset, manifest = shards.dataset, shards.manifest
    for name in sorted(_REQUIRED - manifest.files.keys()):
        yield _Problem(MANIFEST, f"does not list {name}")
    for _, name in walk(dataset):
        inside = name.startswith(("data/", "raw/")) or name.endswith(".parquet")
        if inside and name not in manifest.files:
            yield _Problem(name, "is not in the manifest")


def _damaged(shards: Shards) -> Iterator[_Problem]:
    total = sum(entry.bytes for entry in shards.manifest.files.values())
    with progress("verify", total, "B") as bar:
        for name, entry in sorted(shards.manifest.files.items()):
            path = shards.dataset / name
            if not path.is_file():
                yield _Problem(name, "is missing")
            elif (size := path.stat().st_size) != entry.bytes:
                yield _Problem(name, f"has {size:,} bytes, not {entry.bytes:,}")
            elif sha256(path) != entry.sha256:
                yield _Problem(name, "has other bytes than when it was written")
            bar.update(entry.bytes)


def _contradictions(dataset: Shards) -> Iterator[_Problem]:
    """Yield contradictions between files whose bytes are all as they were written."""
    manifest = dataset.manifest
    images = manifest.images is not None
    ids = {}
    wanted = {
        "data": dataset_schema(ROW, images, manifest.classes),
        "raw": dataset_schema(RAW_ROW, False, manifest.classes),
    }
    features = b"huggingface"
    for config, written in wanted.items():
        shards, tables = manifest.shards(config), []
        for name, rows in shards.items():
            found = read_schema(dataset.dataset / name)
            local = local_labels(found)
            schema = written if local is None else with_local_labels(written, local)
            if not found.equals(schema) or (found.metadata or {}).get(features) != schema.metadata[features]:
                yield _Problem(name, "has another schema than this version writes")
                return
            tables.append(read_table(dataset.dataset / name, columns=["image_id"]))
            if len(tables[-1]) != rows:
                yield _Problem(name, "has another number of rows than the manifest says")
        ids[config] = pa.concat_tables(tables)["image_id"].combine_chunks()
        if (what := _disorder(ids[config], manifest.shuffled)) is not None:
            yield _Problem(next(iter(shards)), what)
    if not ids["data"].equals(ids["raw"]):
        yield _Problem("raw/", "has other ids than data/")
    yield from _uncounted(read_table(dataset.outcomes), ids["data"], manifest)


def _disorder(ids: pa.Array, shuffled: int | None) -> str | None:
    """Return what is wrong with the order of the rows; None if nothing is."""
    if shuffled is not None:
        ordered = np.array_equal(seeded_order(ids.to_pylist(), shuffled), np.arange(len(ids)))
        return None if ordered else f"and its other shards are not in the order of the seed {shuffled}"
    ordered = len(ids) < 2 or pc.all(pc.less(ids[:-1], ids[1:])).as_py()
    return None if ordered else "and its other shards are not sorted by image id"


def _uncounted(outcomes: pa.Table, ids: pa.Array, manifest: Manifest) -> Iterator[_Problem]:
    name = OUTCOMES_FILE
    if outcomes.schema.names != OUTCOMES.names:
        yield _Problem(name, "has other columns than this version writes")
        return
    if (twice := first_repeated(outcomes)) is not None:
        yield _Problem(name, f"has two outcomes for {quoted(twice)}")
    kept = outcomes.filter(pc.equal(outcomes["outcome"], Outcome.KEPT.value))["image_id"].combine_chunks()
    if not kept.equals(ids if manifest.shuffled is None else ids.take(pc.sort_indices(ids))):
        yield _Problem(name, "keeps other ids than data/ has")
    counted = outcomes.group_by("outcome").aggregate([("count", "sum")])
    found = dict(zip(counted["outcome"].to_pylist(), counted["count_sum"].to_pylist(), strict=True))
    if found != dict(manifest.counts):
        yield _Problem(name, "has other counts than the manifest")
