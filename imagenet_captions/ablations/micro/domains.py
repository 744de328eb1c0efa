"""Micro domains: half of the images stay natural, and the others get one of the shifts each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from imagenet_captions.ablations.micro.dataset import LABELLED, TEXTS, features_note, pixels_of, png
from imagenet_captions.ablations.micro.shift import SHIFTS
from imagenet_captions.ablations.rows import nested_order
from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import Examples
from imagenet_captions.storage.files import replacing
from imagenet_captions.storage.parquet import open_parquet_writer

NATURAL = "natural"
_AT_ONCE = 1000


def assign_domains(examples: Examples, seed: int = 0) -> list[str]:
    """Return the domain of each image: natural for half of each class, and the shifts in turn for the others."""
    ids = [examples.image_id(row) for row in range(len(examples))]
    order = nested_order(ids, examples.labels, seed)
    names, shifts, turn = [NATURAL] * len(ids), list(SHIFTS), Counter[int]()
    for row in order[(len(order) + 1) // 2 :]:
        label = int(examples.labels[row])
        names[row] = shifts[(turn[label] + label) % len(shifts)]
        turn[label] += 1
    return names


def write_micro_domains(examples: Examples, out: Path, seed: int = 0) -> None:
    """Write the images with their texts and a column `domain`, each under the shift of its domain."""
    if examples.classes is None:
        raise InputError(f"{examples.source} has no labels, and classes are held out by them; give labeled images")
    schema = pa.schema([*LABELLED, *TEXTS, pa.field("domain", pa.string())])
    schema = schema.with_metadata({"huggingface": features_note(schema, [each.name for each in examples.classes])})
    rows = np.flatnonzero(examples.labels >= 0).tolist()
    names = assign_domains(examples, seed)
    with replacing(out) as partial, open_parquet_writer(partial, schema) as writer:
        for start in range(0, len(rows), _AT_ONCE):
            some = [_row(examples, row, names, seed) for row in rows[start : start + _AT_ONCE]]
            writer.write_table(pa.Table.from_pylist(some, schema))


def _row(examples: Examples, row: int, names: Sequence[str], seed: int) -> dict[str, Any]:
    image_id, texts, domain = examples.image_id(row), examples.texts(row), names[row]
    data, label = examples.image(row), int(examples.labels[row])
    if domain != NATURAL:
        data = png(SHIFTS[domain](pixels_of(data, image_id), image_id, seed))
    assert examples.classes is not None
    return {
        "image": {"bytes": data, "path": image_id},
        "image_id": image_id,
        "label": label,
        "class_name": examples.classes[label].name,
        "title": texts.title,
        "description": texts.description,
        "tags": list(texts.tags),
        "caption": texts.caption,
        "domain": domain,
    }
