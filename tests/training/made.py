"""Small sets of images to train on, in files and in memory, and runs on them."""

from __future__ import annotations

import csv
import io
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from safetensors.torch import load_file

from imagenet_captions.images.examples import Class, Examples, Texts
from imagenet_captions.training.batches import Loader, Samples, Tokenize, Transform
from imagenet_captions.training.data import CaptionSampler
from imagenet_captions.training.module import TrainingModule
from imagenet_captions.training.recipes import find_recipe
from imagenet_captions.training.sampler import ShardedSampler
from imagenet_captions.training.settings import TrainSettings
from tests.command_line import HANGS_AFTER

FIELDS = ("title", "description", "tags", "caption")
CLASSES = (Class("frog", "tree frog"), Class("n01440764", "tench"))
NAMES = ("tench", "goldfish", "husky")


def write_images(path: Path, count: int = 24, columns: tuple[str, ...] = ("label", "class_name", "caption")) -> Path:
    """A Parquet file of 32 x 32 images: each class has a colour, so that there is something to learn."""
    generator = np.random.default_rng(0)
    labels = [row % len(NAMES) for row in range(count)]
    images = generator.integers(0, 120, (count, 32, 32, 3), dtype=np.uint8)
    for pixels, label in zip(images, labels, strict=True):
        pixels[:, :, label] += 120
    values: dict[str, Any] = {
        "image_id": [f"image_{row:03}" for row in range(count)],
        "image": [{"bytes": _png(pixels), "path": None} for pixels in images],
        "label": labels,
        "class_name": [NAMES[label] for label in labels],
        "caption": [f"a {NAMES[label]} number {row}" for row, label in enumerate(labels)],
    }
    kept = ("image_id", "image", *columns)
    pq.write_table(pa.table({name: values[name] for name in kept}), path)
    return path


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


@dataclass(frozen=True)
class Pixels:
    """Random images of so many pixels a side, one of them broken."""

    size: int
    broken: int

    def read(self, row: int) -> bytes:
        if row == self.broken:
            return b"<html>"
        pixels = np.random.default_rng(row).integers(0, 256, (self.size, self.size, 3), dtype=np.uint8)
        return _png(pixels)


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


def settings(data: Path, out: Path, recipe: str = "micro-contrastive", **changes: Any) -> TrainSettings:
    """A run small enough for a test; `changes` are the recipe's or the run's."""
    found = find_recipe(recipe)
    small = {"model": "vit-micro", "batch_size": 8, "epochs": 3, "warmup_steps": 2, "warmup_epochs": 0}
    names = {name for name in changes if hasattr(found, name)}
    small.update({name: changes[name] for name in names})
    of_run = {"workers": 1, "log_every": 1, "accelerator": "cpu", "log": ("csv",)}
    of_run.update({name: value for name, value in changes.items() if name not in names})
    return TrainSettings(data=data, out=out, recipe=replace(found, **small), **of_run)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The trained weights of a run."""
    return load_file(run / "model" / "weights.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs have the same weights, to the last bit."""
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def losses(run: Path) -> dict[int, float]:
    """The losses by step, as a run logged them, over all its starts."""
    found = {}
    for log in sorted(run.glob("logs/csv/*/metrics.csv")):
        with log.open(newline="") as opened:
            found.update({int(row["step"]): float(row["loss"]) for row in csv.DictReader(opened)})
    return found


def run_until_killed(run: TrainSettings, step: int) -> None:
    """Train in a process of its own that is killed, as by the kernel, in the middle of step `step`."""
    command = [sys.executable, "-c", _KILLED, pickle.dumps(run).hex(), str(step)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_AFTER, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL, done.stderr


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, happens: Callable[[TrainingModule], Any]) -> None:
    """Let something happen within the forward pass of a step."""
    kept = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            happens(self)
        return kept(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)


def run_together(function: Callable[..., Any], world_size: int, folder: Path, *arguments: Any) -> list[Any]:
    """What `function(rank, world_size, *arguments)` returned in each of the processes."""
    mp.spawn(_run, (function, world_size, str(folder), arguments), nprocs=world_size)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"result-{rank}.pt", weights_only=False) for rank in range(world_size)]


def _run(rank: int, function: Callable[..., Any], world_size: int, folder: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    try:
        torch.save(function(rank, world_size, *arguments), Path(folder) / f"result-{rank}.pt")
    finally:
        dist.destroy_process_group()


_KILLED = """
import os, pickle, signal, sys
from imagenet_captions.training.module import TrainingModule
from imagenet_captions.training.train import train
step, kept = int(sys.argv[2]), TrainingModule.training_step
def training_step(self, batch, batch_idx):
    loss = kept(self, batch, batch_idx)
    if self.global_step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss
TrainingModule.training_step = training_step
train(pickle.loads(bytes.fromhex(sys.argv[1])))
"""
