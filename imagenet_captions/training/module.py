"""A training step: the loss over the images of all devices, the optimizer, and the module that Lightning runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.pixels import normalise
from imagenet_captions.models.config import CONTRASTIVE, SIMCLR, SUPERVISED
from imagenet_captions.models.model import Model
from imagenet_captions.training.batches import Batch
from imagenet_captions.training.recipes import Recipe

Objective = Callable[[Model, Batch], Tensor]  # the mean loss of a process's images, which are normalized


def make_objective(recipe: Recipe, rank: int = 0, world_size: int = 1) -> Objective:
    """Return the recipe's loss for one of `world_size` processes."""
    if recipe.objective == SUPERVISED:
        return partial(supervised_loss, label_smoothing=recipe.label_smoothing, mixup=recipe.mixup)
    if recipe.objective == CONTRASTIVE:
        from open_clip.loss import ClipLoss

        clip_loss = ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=world_size)
        return partial(contrastive_loss, clip_loss=clip_loss, label_smoothing=recipe.label_smoothing)
    assert recipe.objective == SIMCLR
    return partial(simclr_loss, temperature=recipe.temperature, rank=rank, world_size=world_size)


def contrastive_loss(model: Model, batch: Batch, *, clip_loss: Any, label_smoothing: float) -> Tensor:
    """Return CLIP's loss by open_clip's code, which has no label smoothing; each process computes its own rows."""
    assert model.logit_scale is not None
    assert batch.tokens is not None
    images, texts = model.embed_images(batch.images), model.embed_texts(batch.tokens)
    logits = clip_loss.get_logits(images, texts, model.logit_scale.exp())
    own = clip_loss.get_ground_truth(images.device, len(images))
    losses = [functional.cross_entropy(each, own, label_smoothing=label_smoothing) for each in logits]
    return (losses[0] + losses[1]) / 2


def supervised_loss(model: Model, batch: Batch, *, label_smoothing: float, mixup: float) -> Tensor:
    """Return the cross-entropy of the head, with label smoothing and mixup (Zhang et al. 2018).

    Mixup lays each image over the one at the same place from the batch's end, by a share that is drawn for the batch.
    """
    if not mixup:
        logits = model.class_logits(batch.images)
        return functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    share = float(torch.distributions.Beta(mixup, mixup).sample())
    logits = model.class_logits(share * batch.images + (1 - share) * batch.images.flip(0))
    one, other = (
        functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        for labels in (batch.labels, batch.labels.flip(0))
    )
    return share * one + (1 - share) * other


def simclr_loss(model: Model, batch: Batch, *, temperature: float, rank: int, world_size: int) -> Tensor:
    """Return NT-Xent (Chen et al. 2020, algorithm 1): find an image's other view among the views of all processes."""
    assert batch.other is not None
    views = model.embed_views(torch.cat([batch.images, batch.other]))
    one, other = functional.normalize(views.float(), dim=1).chunk(2)
    all_one, all_other = one, other
    if world_size > 1:
        from open_clip.loss import gather_features

        all_one, all_other = gather_features(one, other, gather_with_grad=True)
    mine = torch.arange(len(one), device=one.device)
    own = mine + rank * len(one)
    itself = torch.zeros(len(one), len(all_one), dtype=torch.bool, device=one.device)
    itself[mine, own] = True
    losses = []
    for views, same, opposite in ((one, all_one, all_other), (other, all_other, all_one)):
        alike = (views @ same.T / temperature).masked_fill(itself, float("-inf"))
        logits = torch.cat([views @ opposite.T / temperature, alike], dim=1)
        losses.append(functional.cross_entropy(logits, own))
    return (losses[0] + losses[1]) / 2


def make_optimiser(recipe: Recipe, named: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
    """Return the recipe's optimizer over the parameters that are trained, with its highest rate."""
    spared: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for name, parameter in named:
        if parameter.requires_grad:
            is_spared = parameter.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))
            (spared if is_spared and recipe.optimiser != "sgd" else decayed).append(parameter)
    groups = [
        {"params": parameters, "weight_decay": decay}
        for parameters, decay in ((spared, 0.0), (decayed, recipe.weight_decay))
        if parameters
    ]
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)
    if recipe.optimiser == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
    from timm.optim.lamb import Lamb
    from timm.optim.lars import Lars

    if recipe.optimiser == "lars":
        return Lars(groups, lr=recipe.lr, momentum=recipe.momentum)
    return Lamb(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)


@dataclass(frozen=True)
class Length:
    """The length of a run in steps of the optimizer."""

    steps: int
    steps_per_epoch: int


def learning_rate(recipe: Recipe, length: Length, step: int) -> float:
    """Return the rate of step `step`, counted from 0; warm-up and cosine are open_clip's."""
    warmup = warmup_steps(recipe, length)
    if step < warmup:
        return recipe.lr * (step + 1) / warmup
    if recipe.schedule == "steps":
        cuts = sum(step >= epoch * length.steps_per_epoch for epoch in recipe.milestones)
        return float(recipe.lr * 0.1**cuts)
    done = (step - warmup) / max(1, length.steps - warmup)
    span = recipe.lr - recipe.min_lr
    if recipe.schedule == "cosine":
        return recipe.min_lr + span * 0.5 * (1 + math.cos(math.pi * done))
    return recipe.min_lr + span * (1 - done) if recipe.schedule == "linear" else recipe.lr


def warmup_steps(recipe: Recipe, length: Length) -> int:
    """Return the number of warm-up steps; a recipe counts them in steps or in epochs."""
    return recipe.warmup_steps + recipe.warmup_epochs * length.steps_per_epoch


_NEVER = 2**62
_HIGHEST_LOGIT_SCALE = math.log(100)  # as in CLIP's paper


class TrainingModule(LightningModule):
    """A model with its loss and its optimizer.

    What is random in a step follows from the seed, the step and the process, so that a resumed run goes on the same.
    """

    def __init__(self, model: Model, recipe: Recipe, length: Length, seed: int, log_every: int) -> None:
        super().__init__()
        self.model = model
        self._recipe = recipe
        self.length = length
        self._seed = seed
        self._log_every = log_every
        # No buffer: DDP would overwrite the other processes' with the first one's.
        self._bad_step: Tensor | None = None
        self.last_loss = math.nan
        self._seconds_before = 0.0
        self._started = time.monotonic()

    def configure_optimizers(self) -> Optimizer:
        return make_optimiser(self._recipe, self.model.named_parameters())

    def on_fit_start(self) -> None:
        self._loss = make_objective(self._recipe, self.global_rank, self.trainer.world_size)
        self._started = time.monotonic()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        mixed = self._seed  # with these, so that no two steps or processes draw the same numbers
        for part in (self.global_step, batch_idx % self._recipe.accumulate, self.global_rank):
            mixed = (mixed * 1_000_003 + part + 1) % (1 << 63)
        torch.manual_seed(mixed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        other = None if batch.other is None else normalise(batch.other, self.model.spec)
        ready = replace(batch, images=normalise(batch.images, self.model.spec), other=other)
        loss = self._loss(self.model, ready)
        now = torch.where(torch.isfinite(loss.detach()), _NEVER, self.global_step)
        self._bad_step = now if self._bad_step is None else torch.minimum(self._bad_step, now)
        last = self.global_step == self.length.steps - 1
        if (self.global_step % self._log_every == 0 or last) and batch_idx % self._recipe.accumulate == 0:
            self._log(loss.detach())
        return loss

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *closure: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.rate()
        super().optimizer_step(epoch, batch_idx, optimizer, *closure)
        if self.model.logit_scale is not None:
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, _HIGHEST_LOGIT_SCALE)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"] = {"model_config": self.model.config.to_dict()}
        checkpoint["so_far"] = {"loss": self.last_loss, "seconds": self.seconds()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.last_loss = checkpoint["so_far"]["loss"]
        self._seconds_before = checkpoint["so_far"]["seconds"]

    def seconds(self) -> float:
        """Return how long the run has trained, with the time before it was resumed."""
        return self._seconds_before + time.monotonic() - self._started

    def rate(self) -> float:
        """Return the learning rate of the current step."""
        return learning_rate(self._recipe, self.length, self.global_step)

    def check_numbers(self) -> None:
        """Raise InputError if a loss since the start or a weight is NaN or infinite.

        Looking at a loss waits for the device, so it is done only here, before a good checkpoint is overwritten.
        """
        step, what = self.global_step, ""
        if self._bad_step is not None:
            bad = self._bad_step.clone()
            if self.trainer.world_size > 1:
                torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MIN)
            if int(bad) < _NEVER:
                step, what = int(bad), f"the loss at step {int(bad)} is not a number"
        for name, weight in self.model.named_parameters():
            if not what and weight.requires_grad and not torch.isfinite(weight).all():
                what = f"after step {step} the weights {shortened(name)} are not numbers"
        if what:
            rate = learning_rate(self._recipe, self.length, step)
            raise InputError(
                f"{what}, at learning rate {rate:.2g}; the last checkpoint is from before; try a lower `lr`, "
                "`clip_norm=1`, or `precision='32'`, in another `out`"
            )

    def _log(self, loss: Tensor) -> None:
        """Log the mean loss over the processes; Lightning's own logging would compute it in every step."""
        mean = loss.clone()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(mean)
        self.last_loss = float(mean) / self.trainer.world_size
        epoch = self.global_step // self.length.steps_per_epoch
        facts = {"loss": self.last_loss, "lr": self.rate(), "epoch": epoch}
        if self.model.logit_scale is not None:
            facts["logit_scale"] = float(self.model.logit_scale.detach().exp())
        for logger in self.loggers:
            logger.log_metrics(facts, step=self.global_step)
