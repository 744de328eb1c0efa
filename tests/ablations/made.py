"""Micro sets made for the tests: a few coloured squares a class, which a model can tell apart; and single images."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from imagenet_captions.ablations.micro import Pixels

if TYPE_CHECKING:
    from imagenet_captions.ablations.comparing import Row

COLOURS = {"apple": (200, 30, 30), "frog": (30, 180, 40), "sea": (20, 60, 200)}


def write_micro_set(path: Path, per_class: int, seed: int = 0) -> Path:
    """A Parquet file with image, label and class_name."""
    generator = np.random.default_rng(seed)
    rows = []
    for label, (name, colour) in enumerate(COLOURS.items()):
        for number in range(per_class):
            light = generator.uniform(0.4, 1.2)
            pixels = np.clip(np.array(colour) * light + generator.normal(0, 20, (32, 32, 3)), 0, 255)
            sink = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(sink, "PNG")
            image = {"bytes": sink.getvalue(), "path": f"{name}_{seed}_{number:04d}.png"}
            rows.append({"image": image, "label": label, "class_name": name})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def photo(number: int) -> Pixels:
    """An image that differs from the others in light, color and busyness."""
    rng = np.random.default_rng(number)
    drawn = rng.integers(0, 256, (4, 4, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    return (drawn * rng.uniform(0.3, 1.0)).astype(np.uint8)


def read_rows(text: str) -> list[Row]:
    """The rows of a comparisons.csv."""
    from imagenet_captions.ablations.comparing import Row

    kinds: dict[str, Callable[[str], Any]] = dict.fromkeys(("value", "low", "high", "p_value"), float)
    kinds["p_holm"] = lambda cell: float(cell) if cell else None
    kinds |= {"images": int, "headline": "yes".__eq__, "by_seed": lambda cell: tuple(map(float, cell.split()))}
    rows = csv.DictReader(io.StringIO(text))
    return [Row(**{name: kinds.get(name, str)(cell) for name, cell in row.items()}) for row in rows]
