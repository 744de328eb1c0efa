"""The training step that Lightning runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.pixels import normalise
from imagenet_captions.models.model import Model, model_config_of
from imagenet_captions.training.data.batches import Batch
from imagenet_captions.training.objectives import Objective, make_objective
from imagenet_captions.training.optimizers import Length, learning_rate, make_optimiser
from imagenet_captions.training.recipe import Recipe

_NEVER = 2**62
_HIGHEST_LOGIT_SCALE = math.log(100)  # as in CLIP's paper


class TrainingModule(LightningModule):
    """A model with its loss and its optimizer.

    What is random in a step, dropout for one, follows from the seed, the step and the process, and the learning rate
    from the step: a resumed run goes on as an unbroken one does.
    """

    def __init__(self, model: Model, recipe: Recipe, length: Length, seed: int, log_every: int) -> None:
        super().__init__()
        self.model = model
        self._recipe = recipe
        self.length = length
        self._seed = seed
        self._log_every = log_every
        self._objective: Objective | None = None
        # No buffer: DDP would overwrite the other processes' with the first one's.
        self._bad_step: Tensor | None = None
        self.last_loss = math.nan
        self._seconds_before = 0.0
        self._started = time.monotonic()

    def configure_optimizers(self) -> Optimizer:
        return make_optimiser(self._recipe, self.model.named_parameters())

    def on_fit_start(self) -> None:
        self._objective = make_objective(self._recipe, self.global_rank, self.trainer.world_size)
        self._started = time.monotonic()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        micro = batch_idx % self._recipe.accumulate
        torch.manual_seed(_mixed(self._seed, self.global_step, micro, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        assert self._objective is not None
        other = None if batch.other is None else normalise(batch.other, self.model.spec)
        ready = replace(batch, images=normalise(batch.images, self.model.spec), other=other)
        loss = self._objective(self.model, ready) * batch.weight
        self._note_bad(loss.detach())
        last = self.global_step == self.length.steps - 1
        if (self.global_step % self._log_every == 0 or last) and batch_idx % self._recipe.accumulate == 0:
            self._log(loss.detach())
        return loss

    def optimizer_step(
        self,
        epoch: int,
        batch_idx: int,
        optimizer: Optimizer | Any,
        optimizer_closure: Callable[[], Any] | None = None,
    ) -> None:
        rate = self.rate()
        for group in optimizer.param_groups:
            group["lr"] = rate
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if self.model.logit_scale is not None:
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, _HIGHEST_LOGIT_SCALE)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["hyper_parameters"] = {"model_config": model_config_of(self.model)}
        checkpoint["so_far"] = {"loss": self.last_loss, "seconds": self.seconds()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.last_loss = checkpoint["so_far"]["loss"]
        self._seconds_before = checkpoint["so_far"]["seconds"]

    def seconds(self) -> float:
        """Return how long the run has trained, including the time before it was resumed."""
        return self._seconds_before + time.monotonic() - self._started

    def rate(self) -> float:
        """Return the learning rate of the current step."""
        return learning_rate(self._recipe, self.length, self.global_step)

    def check_losses(self) -> None:
        """Raise InputError if a loss since the start was NaN or infinite.

        Looking at a loss waits for the device, so it is done only here; the step at which it happened is kept there.
        """
        if self._bad_step is None:
            return
        bad = self._bad_step.clone()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(bad, torch.distributed.ReduceOp.MIN)
        step = int(bad)
        if step < _NEVER:
            rate = learning_rate(self._recipe, self.length, step)
            raise InputError(
                f"the loss at step {step} is not a number, at learning rate {rate:.2g}; the last checkpoint is from "
                f"before; try a lower `lr`, `clip_norm=1`, or `precision='32'`, in another `out`"
            )

    def check_weights(self) -> None:
        """Raise InputError if a weight is NaN or infinite, before it overwrites a good checkpoint."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not torch.isfinite(parameter).all():
                raise InputError(
                    f"after step {self.global_step} the weights {shortened(name)} are not numbers, at learning rate "
                    f"{self.rate():.2g}; the last checkpoint is from before; try a lower `lr`, `clip_norm=1`, or "
                    f"`precision='32'`, in another `out`"
                )

    def _note_bad(self, loss: Tensor) -> None:
        now = torch.where(torch.isfinite(loss), _NEVER, self.global_step)
        self._bad_step = now if self._bad_step is None else torch.minimum(self._bad_step, now)

    def _log(self, loss: Tensor) -> None:
        """Log the mean loss over the processes; Lightning's own logging would compute it in every step."""
        mean = loss.clone()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(mean)
        self.last_loss = float(mean) / self.trainer.world_size
        facts = {"loss": self.last_loss, "lr": self.rate(), "epoch": self.global_step // self.length.steps_per_epoch}
        if self.model.logit_scale is not None:
            facts["logit_scale"] = float(self.model.logit_scale.detach().exp())
        for logger in self.loggers:
            logger.log_metrics(facts, step=self.global_step)


def _mixed(seed: int, step: int, micro: int, rank: int) -> int:
    """Mix four numbers into one seed, so that no two steps or processes draw the same numbers."""
    mixed = seed
    for part in (step, micro, rank):
        mixed = (mixed * 1_000_003 + part + 1) % (1 << 63)
    return mixed
