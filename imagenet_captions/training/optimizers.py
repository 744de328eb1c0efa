"""Optimizers and learning rates of a recipe.

The learning rate is a pure function of the step, so that a resumed run has the rates of an unbroken one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from imagenet_captions.training.recipe import Recipe


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
