"""The losses: CLIP's, cross-entropy, and SimCLR's, each over the images of all devices."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional

from imagenet_captions.training.recipe import CONTRASTIVE, SUPERVISED, Recipe


class Towers(Protocol):
    """What of a model the losses use; `imagenet_captions.models.Model` is one."""

    logit_scale: Any

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Unit vectors in the space of images and texts."""
        ...

    def embed_texts(self, tokens: Any) -> Tensor:
        """Unit vectors in the space of images and texts."""
        ...

    def class_logits(self, pixels: Tensor) -> Tensor:
        """A score for each class."""
        ...

    def embed_views(self, pixels: Tensor) -> Tensor:
        """The points that SimCLR compares."""
        ...


class Objective(Protocol):
    """A loss of a model on one batch, as `data.collate` makes it and with its pixels normalised."""

    def __call__(self, model: Towers, batch: dict[str, Any]) -> Tensor:
        """The mean loss over this process's images."""
        ...


def make_objective(recipe: Recipe, rank: int = 0, world_size: int = 1) -> Objective:
    """The recipe's loss for one of `world_size` processes."""
    if recipe.objective == CONTRASTIVE:
        return ContrastiveObjective(rank, world_size)
    if recipe.objective == SUPERVISED:
        return SupervisedObjective()
    return SimclrObjective(recipe.temperature)


class ContrastiveObjective:
    """CLIP's loss, open_clip's code: each image among all texts and each text among all images.

    With several processes each computes the rows of its own images and texts, with features gathered from all and
    gradients flowing back to them, so that the mean of the losses is the loss of one process with all images.
    """

    def __init__(self, rank: int = 0, world_size: int = 1) -> None:
        from open_clip.loss import ClipLoss

        self._loss = ClipLoss(
            local_loss=True, gather_with_grad=True, cache_labels=True, rank=rank, world_size=world_size
        )

    def __call__(self, model: Towers, batch: dict[str, Any]) -> Tensor:
        loss: Tensor = self._loss(
            model.embed_images(batch["pixels"]), model.embed_texts(batch["tokens"]), model.logit_scale.exp()
        )
        return loss


class SupervisedObjective:
    """Cross-entropy of the model's own head, without label smoothing."""

    def __call__(self, model: Towers, batch: dict[str, Any]) -> Tensor:
        return functional.cross_entropy(model.class_logits(batch["pixels"]), batch["labels"])


class SimclrObjective:
    """NT-Xent on two views of each image, among the views of all processes."""

    def __init__(self, temperature: float) -> None:
        self._temperature = temperature

    def __call__(self, model: Towers, batch: dict[str, Any]) -> Tensor:
        both = model.embed_views(torch.cat([batch["pixels"], batch["other_pixels"]]))
        one, other = both.chunk(2)
        return nt_xent(one, other, self._temperature)


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """SimCLR's loss (Chen et al. 2020, algorithm 1): find an image's other view among all views but itself.

    `one` and `other` are [n, dim], this process's views in the same order; they are made unit vectors here. The mean
    over processes is the loss of one process with all views.
    """
    one, other = functional.normalize(one.float(), dim=1), functional.normalize(other.float(), dim=1)
    all_one, all_other = gather(one), gather(other)
    count, total = len(one), len(all_one)
    rank = dist.get_rank() if total > count else 0
    mine = torch.arange(count, device=one.device)
    own = mine + rank * count
    itself = torch.zeros(count, total, dtype=torch.bool, device=one.device)
    itself[mine, own] = True
    losses = []
    for views, same, opposite in ((one, all_one, all_other), (other, all_other, all_one)):
        alike = (views @ same.T / temperature).masked_fill(itself, float("-inf"))
        logits = torch.cat([views @ opposite.T / temperature, alike], dim=1)
        losses.append(functional.cross_entropy(logits, own))
    return (losses[0] + losses[1]) / 2


def gather(features: Tensor) -> Tensor:
    """The features of all processes, one below the other, through which gradients flow back to each."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return features
    gathered: Tensor = _Gather.apply(features)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    """all_gather whose gradient is the sum over processes of what each wants of this process's features."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        pieces = [torch.empty_like(features) for _ in range(dist.get_world_size())]
        dist.all_gather(pieces, features.contiguous())
        ctx.count = len(features)
        return torch.cat(pieces)

    @staticmethod
    def backward(ctx: Any, *wanted: Tensor) -> Tensor:
        total = wanted[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.count
        return total[start : start + ctx.count]
