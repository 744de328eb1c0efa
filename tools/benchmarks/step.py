"""A step of CLIP's RN50 on a CPU: ours with all that Lightning does around it, and open_clip's own training step.

Both are in one process and take turns. Ours is the time from handing a batch to Lightning to its asking for the next:
bytes to floats, forward, loss, backward, optimiser, learning rate, callbacks and logs. Theirs is `train_one_epoch` of
open_clip_train on an epoch of one batch.
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import open_clip
import torch
from open_clip.loss import ClipLoss
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch

from imagenet_captions.images.pixels import normalise
from imagenet_captions.models.build import build_model
from imagenet_captions.training.batches import Batch
from imagenet_captions.training.module import Length, TrainingModule, make_optimiser
from imagenet_captions.training.recipes import find_recipe
from imagenet_captions.training.settings import TrainSettings
from imagenet_captions.training.train import fit, make_trainer

_BATCH = 16
_STEPS = 20
_WARM_UP = 2
_TEXTS = [f"photograph number {number} of a tench, held up at a lake" for number in range(_BATCH)]


class Theirs:
    """open_clip's model and its training step."""

    def __init__(self, steps: int) -> None:
        self.model = open_clip.create_model("RN50", output_dict=True)
        recipe = find_recipe("contrastive")
        self.optimiser = make_optimiser(recipe, self.model.named_parameters())
        self.scheduler = cosine_lr(self.optimiser, recipe.lr, recipe.warmup_steps, steps)
        self.loss = ClipLoss(local_loss=False, gather_with_grad=False, cache_labels=True)
        self.tokens = open_clip.get_tokenizer("RN50")(_TEXTS)
        self.args = SimpleNamespace(
            device="cpu", precision="fp32", distill=False, accum_freq=1, skip_scheduler=False, horovod=False,
            grad_clip_norm=None, rank=0, local_rank=0, log_local=False, log_every_n_steps=100, batch_size=_BATCH,
            world_size=1, wandb=False, distributed=False,
        )  # fmt: skip

    def step(self, images: torch.Tensor, number: int) -> float:
        """Take one step, and say how long it took."""
        loader = _OneBatch([(images, self.tokens)])
        data = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
        start = time.perf_counter()
        train_one_epoch(self.model, data, self.loss, number, self.optimiser, None, self.scheduler, None, self.args)
        return time.perf_counter() - start


class _OneBatch(list):  # type: ignore[type-arg]
    num_batches, num_samples = 1, _BATCH


def main(scratch: Path) -> list[dict[str, Any]]:
    logging.getLogger().setLevel(logging.WARNING)
    recipe = replace(find_recipe("contrastive"), batch_size=_BATCH)
    settings = TrainSettings(Path("images"), scratch / "step", recipe, accelerator="cpu", workers=1)
    steps = _STEPS + _WARM_UP
    length = Length(steps, 10 * steps)
    theirs = Theirs(steps)
    model = build_model("RN50", 0)
    module = TrainingModule(model, recipe, length, 0, settings.log_every)
    trainer = make_trainer(settings, length)
    trainer.callbacks = [each for each in trainer.callbacks if type(each).__name__ != "Checkpoints"]
    seconds: dict[str, list[float]] = {"ours": [], "open_clip": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(trainer, module, _taking_turns(module, theirs, seconds))
    ours, peer = (statistics.median(seconds[name][_WARM_UP:]) for name in ("ours", "open_clip"))
    return [
        {
            "what": f"RN50 CLIP step on a CPU, {_BATCH} images, {torch.get_num_threads()} threads",
            "ours_s": round(ours, 3),
            "peer": "open_clip",
            "peer_s": round(peer, 3),
            "ratio": round(peer / ours, 3),
            "bar": ">= 0.9",
        }
    ]


def _taking_turns(module: TrainingModule, theirs: Theirs, seconds: dict[str, list[float]]) -> Iterator[Batch]:
    """Give Lightning a batch, and take one of open_clip's steps before each."""
    generator = torch.Generator().manual_seed(0)
    number = 0
    while True:
        images = torch.randint(0, 256, (_BATCH, 3, 224, 224), dtype=torch.uint8, generator=generator)
        # What the loader gives has the channels last, as decoded images have them.
        batch = _batch(images.contiguous(memory_format=torch.channels_last), module.model.tokenize(_TEXTS))
        seconds["open_clip"].append(theirs.step(normalise(images, module.model.spec), number))
        start = time.perf_counter()
        yield batch
        seconds["ours"].append(time.perf_counter() - start)
        number += 1


def _batch(images: torch.Tensor, tokens: Any) -> Batch:
    count = len(images)
    return Batch(
        images, None, (), tokens, torch.full((count,), -1), torch.arange(count), 0, 0, shares=(count,), weight=1.0
    )
