"""A training step: the loss over the images of all devices, the optimizer, and the module that Lightning runs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from imagenet_captions.errors import InputError, shortened
from imagenet_captions.images.pixels import normalise
from imagenet_captions.models.model import Model, model_config_of
from imagenet_captions.training.batches import Batch
from imagenet_captions.training.recipes import CONTRASTIVE, SUPERVISED, Recipe


class Towers(Protocol):
    """The methods of a model that the losses use; `imagenet_captions.models.Model` has them."""

    logit_scale: nn.Parameter | None

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Return unit vectors in the space of images and texts."""
        ...

    def embed_texts(self, tokens: Any) -> Tensor:
        """Return unit vectors in the space of images and texts."""
        ...

    def class_logits(self, pixels: Tensor) -> Tensor:
        """Return a score for each class."""
        ...

    def embed_views(self, pixels: Tensor) -> Tensor:
        """Return the vectors that SimCLR compares."""
        ...


class Objective(Protocol):
    """A loss of a model on the batch of one process, with normalized images."""

    def __call__(self, model: Towers, batch: Batch) -> Tensor:
        """Return the mean over this process's images; times `batch.weight`, the processes' mean is that of all."""
        ...


def make_objective(recipe: Recipe, rank: int = 0, world_size: int = 1) -> Objective:
    """Return the recipe's loss for one of `world_size` processes."""
    if recipe.objective == CONTRASTIVE:
        return ContrastiveObjective(rank, world_size, recipe.label_smoothing)
    if recipe.objective == SUPERVISED:
        return SupervisedObjective(recipe.label_smoothing, recipe.mixup)
    return SimclrObjective(recipe.temperature, rank)


class ContrastiveObjective:
    """CLIP's loss in open_clip's code: each image among all texts and each text among all images.

    With several processes each computes the rows of its own images and texts, with features gathered from all and
    gradients flowing back to them. open_clip's code needs equal numbers in all processes; at the end of an epoch, where
    some have one more, and with label smoothing, `_gathered` computes the same loss.
    """

    def __init__(self, rank: int = 0, world_size: int = 1, label_smoothing: float = 0.0) -> None:
        from open_clip.loss import ClipLoss

        self._rank = rank
        self._smoothing = label_smoothing
        self._loss = ClipLoss(local_loss=True, gather_with_grad=True, rank=rank, world_size=world_size)

    def __call__(self, model: Towers, batch: Batch) -> Tensor:
        assert model.logit_scale is not None
        images, texts = model.embed_images(batch.images), model.embed_texts(batch.tokens)
        scale = model.logit_scale.exp()
        if self._smoothing or len(set(batch.shares)) > 1:
            return self._gathered(images, texts, scale, batch.shares)
        loss: Tensor = self._loss(images, texts, scale)
        return loss

    def _gathered(self, images: Tensor, texts: Tensor, scale: Tensor, shares: tuple[int, ...]) -> Tensor:
        """Return CLIP's loss of this process's rows, where process k has `shares[k]` of them."""
        own = torch.arange(len(images), device=images.device) + sum(shares[: self._rank])
        logits = scale * images @ gather(texts, shares).T, scale * texts @ gather(images, shares).T
        losses = [functional.cross_entropy(each, own, label_smoothing=self._smoothing) for each in logits]
        return (losses[0] + losses[1]) / 2


class SupervisedObjective:
    """Cross-entropy of the model's head, with the recipe's label smoothing and mixup (Zhang et al. 2018).

    Mixup lays each image of the batch over the one at the same place from the end, by a share that is drawn for the
    batch from torch's own generator.
    """

    def __init__(self, label_smoothing: float = 0.0, mixup: float = 0.0) -> None:
        self._smoothing = label_smoothing
        self._mixup = mixup

    def __call__(self, model: Towers, batch: Batch) -> Tensor:
        if not self._mixup:
            return self._loss(model.class_logits(batch.images), batch.labels)
        share = float(torch.distributions.Beta(self._mixup, self._mixup).sample())
        logits = model.class_logits(share * batch.images + (1 - share) * batch.images.flip(0))
        return share * self._loss(logits, batch.labels) + (1 - share) * self._loss(logits, batch.labels.flip(0))

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, label_smoothing=self._smoothing)


class SimclrObjective:
    """NT-Xent on two views of each image, among the views of all processes."""

    def __init__(self, temperature: float, rank: int = 0) -> None:
        self._temperature = temperature
        self._rank = rank

    def __call__(self, model: Towers, batch: Batch) -> Tensor:
        assert batch.other is not None
        one, other = model.embed_views(torch.cat([batch.images, batch.other])).chunk(2)
        return nt_xent(one, other, self._temperature, self._rank, batch.shares)


def nt_xent(
    one: Tensor, other: Tensor, temperature: float, rank: int = 0, shares: tuple[int, ...] | None = None
) -> Tensor:
    """Return SimCLR's loss (Chen et al. 2020, algorithm 1): find an image's other view among all other views.

    `one` and `other` are [n, dim], this process's views in the same order; they are made unit vectors here. `shares`
    are the images of all processes; None is this one alone.
    """
    shares = shares or (len(one),)
    one, other = functional.normalize(one.float(), dim=1), functional.normalize(other.float(), dim=1)
    all_one, all_other = gather(one, shares), gather(other, shares)
    mine = torch.arange(len(one), device=one.device)
    own = mine + sum(shares[:rank])
    itself = torch.zeros(len(one), len(all_one), dtype=torch.bool, device=one.device)
    itself[mine, own] = True
    losses = []
    for views, same, opposite in ((one, all_one, all_other), (other, all_other, all_one)):
        alike = (views @ same.T / temperature).masked_fill(itself, float("-inf"))
        logits = torch.cat([views @ opposite.T / temperature, alike], dim=1)
        losses.append(functional.cross_entropy(logits, own))
    return (losses[0] + losses[1]) / 2


def gather(features: Tensor, shares: tuple[int, ...]) -> Tensor:
    """Concatenate the features of all processes; gradients flow back to each process."""
    if len(shares) == 1:
        return features
    gathered: Tensor = _Gather.apply(features, shares)  # type: ignore[no-untyped-call, unused-ignore]
    return gathered


class _Gather(torch.autograd.Function):
    """all_gather with a gradient: the sum over processes of their gradients for this process's features."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, shares: tuple[int, ...]) -> Tensor:
        ctx.start, ctx.count = sum(shares[: dist.get_rank()]), len(features)
        filled = features.new_zeros(max(shares), features.shape[1])
        filled[: len(features)] = features
        pieces = [torch.empty_like(filled) for _ in shares]
        dist.all_gather(pieces, filled)
        return torch.cat([piece[:count] for piece, count in zip(pieces, shares, strict=True)])

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> tuple[Tensor, None]:
        total = wanted[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.start : ctx.start + ctx.count], None


def make_optimiser(recipe: Recipe, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the parameters that are trained.

    The rate that it holds is the recipe's; the run sets each step's own.
    """
    groups = parameter_groups(recipe, named)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)
    if recipe.optimiser == "sgd":
        nesterov = recipe.nesterov and recipe.momentum > 0
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=nesterov)
    if recipe.optimiser == "lars":
        from timm.optim.lars import Lars

        return Lars(groups, lr=recipe.lr, momentum=recipe.momentum)
    from timm.optim.lamb import Lamb

    return Lamb(groups, lr=recipe.lr, betas=recipe.betas, eps=recipe.eps)


def parameter_groups(recipe: Recipe, named: Iterable[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    """Return the trained parameters in a group with weight decay and one without.

    SGD decays everything, as ImageNet's recipes do. The others spare gains, biases and the logit scale, by the rule of
    open_clip's training; LARS and LAMB then scale only what is decayed.
    """
    learning = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    if recipe.optimiser == "sgd":
        return [{"params": [parameter for _, parameter in learning], "weight_decay": recipe.weight_decay}]
    spared = [parameter for name, parameter in learning if is_spared(name, parameter)]
    decayed = [parameter for name, parameter in learning if not is_spared(name, parameter)]
    groups = [{"params": spared, "weight_decay": 0.0}, {"params": decayed, "weight_decay": recipe.weight_decay}]
    return [group for group in groups if group["params"]]


def is_spared(name: str, parameter: nn.Parameter) -> bool:
    """Return whether a parameter has no weight decay, by open_clip's rule."""
    return parameter.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name


@dataclass(frozen=True)
class Length:
    """The length of a run in steps of the optimizer."""

    steps: int
    steps_per_epoch: int


def learning_rate(recipe: Recipe, length: Length, step: int) -> float:
    """Return the rate of step `step`, counted from 0; warm-up and cosine are open_clip's.

    >>> recipe = Recipe("contrastive", "RN50", "adamw", lr=1.0, batch_size=8, epochs=1, warmup_steps=4)
    >>> [learning_rate(recipe, Length(8, 8), step) for step in (0, 3, 4, 6)]
    [0.25, 1.0, 1.0, 0.5]
    """
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
