"""The last step of writing a dataset folder: its card, its description for programs, and its manifest."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

import pyarrow as pa

from imagenet_captions.dataset.describing.card import card
from imagenet_captions.dataset.describing.croissant import croissant
from imagenet_captions.dataset.describing.facts import DatasetFacts, Origin, count_shards
from imagenet_captions.dataset.manifest import FileEntry, Manifest
from imagenet_captions.dataset.outcomes import read_outcome_counts
from imagenet_captions.dataset.shard import ShardFile
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.storage.files import CARD, CROISSANT, sha256, write_json, write_text
from imagenet_captions.storage.parquet import read_metadata
from imagenet_captions.storage.places import Place


def finish_dataset(
    folder: Place,
    shards: Sequence[ShardFile],
    origin: Origin,
    has_images: bool,
) -> DatasetFacts:
    """Write the card, `croissant.json` and the manifest of a folder that has all its shards and its outcomes."""
    outcomes = folder / OUTCOMES_FILE
    facts = DatasetFacts(
        **count_shards([shard for shard in shards if shard.name.startswith("data/")], has_images),
        funnel=read_outcome_counts(outcomes),
        inputs=origin.inputs,
        settings=origin.settings,
        measured=origin.measured,
        made_with={
            "imagenet-captions": importlib.metadata.version("imagenet-captions"),
            "pyarrow": pa.__version__,
        },
    )
    files = {shard.name: FileEntry(shard.sha256, shard.bytes, shard.rows) for shard in shards}
    files[OUTCOMES_FILE] = _entry(outcomes, read_metadata(outcomes).num_rows)
    write_text(folder / CARD, card(facts))
    write_json(folder / CROISSANT, croissant(facts, shards, files[OUTCOMES_FILE]))
    files |= {name: _entry(folder / name) for name in (CARD, CROISSANT)}
    counts = {outcome.value: count for outcome, count in facts.funnel.items()}
    told = (origin.inputs, origin.settings, counts, facts.images, files, origin.measured)
    Manifest(facts.made_with, *told).write(folder)
    return facts


def _entry(path: Place, rows: int | None = None) -> FileEntry:
    return FileEntry(sha256(path), path.stat().st_size, rows)
