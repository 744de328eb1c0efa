"""Small sets of images to train on, and runs on them."""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from imagenet_captions.training.module import TrainingModule
from imagenet_captions.training.recipes import find_recipe
from imagenet_captions.training.settings import TrainSettings
from tests.command_line import HANGS_AFTER

NAMES = ("tench", "goldfish", "husky")


def write_images(path: Path, count: int = 24, columns: tuple[str, ...] = ("label", "class_name", "caption")) -> Path:
    """A Parquet file of 32 x 32 images: each class has a colour, so that there is something to learn."""
    generator = np.random.default_rng(0)
    labels = [row % len(NAMES) for row in range(count)]
    values: dict[str, Any] = {
        "image_id": [f"image_{row:03}" for row in range(count)],
        "image": [{"bytes": _png(generator, label), "path": None} for label in labels],
        "label": labels,
        "class_name": [NAMES[label] for label in labels],
        "caption": [f"a {NAMES[label]} number {row}" for row, label in enumerate(labels)],
    }
    kept = ("image_id", "image", *columns)
    pq.write_table(pa.table({name: values[name] for name in kept}), path)
    return path


def _png(generator: np.random.Generator, label: int) -> bytes:
    pixels = generator.integers(0, 120, (32, 32, 3), dtype=np.uint8)
    pixels[:, :, label] += 120
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


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


def run_python(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
    return subprocess.run(
        [sys.executable, *(["-c", code] if "\n" in code else [code]), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
        check=False,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
    )


def run_until_killed(run: TrainSettings, step: int) -> None:
    """Train in a process of its own that is killed, as by the kernel, in the middle of step `step`."""
    done = run_python(_KILLED, repr_settings(run), str(step))
    assert done.returncode == -signal.SIGKILL, done.stderr


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, happens: Callable[[TrainingModule], Any]) -> None:
    """Let something happen within the forward pass of a step."""
    kept = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.global_step == step:
            happens(self)
        return kept(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)


def repr_settings(run: TrainSettings) -> str:
    """The settings as another process reads them."""
    import pickle

    return pickle.dumps(run).hex()


_ROOT = Path(__file__).parents[2]
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
