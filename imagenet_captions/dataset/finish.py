"""The last step of writing a dataset folder: its card and its manifest."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagenet_captions.dataset.card import CardFacts, card
from imagenet_captions.dataset.manifest import FileEntry, Manifest
from imagenet_captions.dataset.outcomes import read_outcome_counts
from imagenet_captions.dataset.shard import ShardFile
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.storage.file_names import CARD
from imagenet_captions.storage.files import sha256, write_text
from imagenet_captions.storage.parquet import read_metadata


def finish_dataset(
    folder: Path,
    shards: Sequence[ShardFile],
    inputs: Mapping[str, str],
    settings: Mapping[str, Any],
    has_images: bool,
) -> CardFacts:
    """Write the card and the manifest of a folder that has all its shards and its outcomes."""
    outcomes = folder / OUTCOMES_FILE
    data = [shard for shard in shards if shard.name.startswith("data/")]
    facts = CardFacts(
        rows=sum(shard.rows for shard in data),
        classes=len(sum((shard.wnids for shard in data), Counter())),
        images=sum(shard.images for shard in data) if has_images else None,
        filled=_filled(data),
        languages=sum((shard.languages for shard in data), Counter()),
        sources=sum((shard.sources for shard in data), Counter()),
        funnel=read_outcome_counts(outcomes),
        inputs=inputs,
        settings=settings,
        made_with={
            "imagenet-captions": importlib.metadata.version("imagenet-captions"),
            "pyarrow": pa.__version__,
        },
    )
    readme = folder / CARD
    write_text(readme, card(facts))
    files = {shard.name: FileEntry(shard.sha256, shard.bytes, shard.rows) for shard in shards}
    files[CARD] = FileEntry(sha256(readme), readme.stat().st_size, None)
    files[OUTCOMES_FILE] = FileEntry(sha256(outcomes), outcomes.stat().st_size, read_metadata(outcomes).num_rows)
    counts = {outcome.value: count for outcome, count in facts.funnel.items()}
    Manifest(facts.made_with, inputs, settings, counts, facts.images, files).write(folder)
    return facts


def _filled(shards: Sequence[ShardFile]) -> dict[str, int]:
    filled: Counter[str] = Counter()
    for shard in shards:
        filled.update(shard.filled)
    return dict(filled)  # in the order of the columns, which is the same in every shard
