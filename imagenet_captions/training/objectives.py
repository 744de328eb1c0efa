"""The losses: CLIP's, cross-entropy and SimCLR's, each over the images of all devices."""

from __future__ import annotations

from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from imagenet_captions.training.data.batches import Batch
from imagenet_captions.training.recipe import CONTRASTIVE, SUPERVISED, Recipe


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
