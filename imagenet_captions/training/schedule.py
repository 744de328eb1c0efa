"""The learning rate as a pure function of the step, so that a resumed run has the rates of an unbroken one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from imagenet_captions.training.recipe import Recipe


@dataclass(frozen=True)
class Length:
    """How long a run is, in steps of the optimiser."""

    steps: int
    steps_per_epoch: int


def learning_rate(recipe: Recipe, length: Length, step: int) -> float:
    """The rate of step `step`, counted from 0; warm-up and cosine are open_clip's.

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
    """How many steps the warm-up takes, whether the recipe counts it in steps or in epochs."""
    return recipe.warmup_steps + recipe.warmup_epochs * length.steps_per_epoch
