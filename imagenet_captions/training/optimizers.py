"""Optimisers by name, with weight decay where it belongs: on matrices, not on gains, biases and the logit scale."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from imagenet_captions.training.recipe import Recipe


def make_optimiser(recipe: Recipe, named: Iterable[tuple[str, nn.Parameter]]) -> torch.optim.Optimizer:
    """The recipe's optimiser over those of the parameters that learn.

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
    """The parameters that learn, in a group with weight decay and one without.

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
    """Whether a parameter has no weight decay; the rule is open_clip's."""
    return parameter.ndim < 2 or "bn" in name or "ln" in name or "bias" in name or "logit_scale" in name
