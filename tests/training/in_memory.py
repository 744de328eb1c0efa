"""Examples in memory, for tests of what becomes of them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenet_captions.images.examples import Class, Texts


@dataclass(frozen=True)
class Made:
    """So many small images; row i has the class i modulo the number of classes, and says so in its texts."""

    count: int
    classes: tuple[Class, ...] | None = (Class("frog", "tree frog"), Class("n01440764", "tench"))
    fields: tuple[str, ...] = ("title", "description", "tags", "caption")
    broken: int = -1
    size: int = 24
    source: Path = Path("made")
    left_out: int = 0

    def __len__(self) -> int:
        return self.count

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        if self.classes is None:
            return np.full(self.count, -1, np.int64)
        return np.arange(self.count, dtype=np.int64) % len(self.classes)

    def image_id(self, index: int) -> str:
        return f"image-{index}"

    def image(self, index: int) -> bytes:
        if index == self.broken:
            return b"<html>"
        pixels = np.random.default_rng(index).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    def texts(self, index: int) -> Texts:
        told = {
            "title": f"title {index}",
            "description": f"about {index}",
            "tags": (f"tag{index}", "x"),
            "caption": f"caption {index}",
        }
        return Texts(**{name: told[name] for name in self.fields})  # type: ignore[arg-type]
