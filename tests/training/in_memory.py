"""Examples in memory and their batches, for tests of what becomes of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from imagenet_captions.images.examples import Class, Examples, Texts
from imagenet_captions.training.batches import Loader, Samples, Tokenize, Transform
from imagenet_captions.training.data import CaptionSampler
from imagenet_captions.training.sampler import ShardedSampler

FIELDS = ("title", "description", "tags", "caption")
CLASSES = (Class("frog", "tree frog"), Class("n01440764", "tench"))


@dataclass(frozen=True)
class Pixels:
    """Random images of so many pixels a side, one of them broken."""

    size: int
    broken: int

    def read(self, row: int) -> bytes:
        if row == self.broken:
            return b"<html>"
        pixels = np.random.default_rng(row).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()


@dataclass(frozen=True)
class Told:
    """Texts that say the row."""

    fields: Sequence[str] = FIELDS

    def read(self, row: int) -> Texts:
        tags = (f"tag{row}", "x")
        told = {"title": f"title {row}", "description": f"about {row}", "tags": tags, "caption": f"caption {row}"}
        return Texts(**{name: told[name] for name in self.fields})  # type: ignore[arg-type]


def made(
    count: int,
    classes: tuple[Class, ...] | None = CLASSES,
    fields: Sequence[str] = FIELDS,
    broken: int = -1,
    size: int = 24,
) -> Examples:
    """So many small images; row i has the class i modulo the number of classes, and says so in its texts."""
    labels = np.arange(count, dtype=np.int64) % len(classes) if classes else np.full(count, -1, np.int64)
    ids = pa.array([f"image-{row}" for row in range(count)])
    return Examples(Path("made"), classes, labels, ids, Pixels(size, broken), Told(fields))


def loader_of(
    examples: Examples,
    transform: Transform,
    sampler: ShardedSampler,
    captions: CaptionSampler | None = None,
    tokenize: Tokenize | None = None,
    *,
    seed: int = 0,
    workers: int = 0,
) -> Loader:
    """The training batches of examples, as the sampler shares them out."""
    return Loader(Samples(examples, transform, seed, captions, tokenize), sampler, workers)
