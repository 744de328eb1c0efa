"""What a training recipe is: every number that a run depends on, checked when it is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from imagenet_captions.errors import InputError

CONTRASTIVE, SUPERVISED, SIMCLR = OBJECTIVES = ("contrastive", "supervised", "simclr")
OPTIMISERS = ("adamw", "sgd", "lars", "lamb")
SCHEDULES = ("cosine", "linear", "steps", "constant")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
LOCKS = ("none", "image", "text")


@dataclass(frozen=True)
class Recipe:
    """One way to train. `sources` says of each value where it is from; a value without a source is ours.

    `batch_size` is the images of one step of the optimiser, over all devices and accumulated micro-batches. `lr` grows
    linearly over the warm-up and then follows `schedule`; `milestones` are the epochs at which "steps" cuts it by ten.
    `accumulate` splits a step's images into so many micro-batches; the contrastive losses compare within one of them.
    `crop_scale` is the share of an image that a random crop covers. `colour` is the strength of SimCLR's changes of
    colour and `temperature` its loss's; CLIP learns its own temperature, and SimCLR always flips.
    `caption` is a caption recipe, drawn anew each epoch; without one, captions are those that the data has.
    """

    objective: str
    model: str
    optimiser: str
    lr: float
    batch_size: int
    epochs: int
    schedule: str = "cosine"
    warmup_steps: int = 0
    warmup_epochs: int = 0
    milestones: tuple[int, ...] = ()
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None
    accumulate: int = 1
    precision: str = "32"
    crop_scale: tuple[float, float] = (0.9, 1.0)
    flip: bool = False
    colour: float = 0.0
    temperature: float = 0.1
    lock: str = "none"
    sync_batchnorm: bool = False
    caption: str | None = None
    sources: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} {getattr(self, name)!r} is not possible; give one of {', '.join(choices)}")
        for name in ("batch_size", "epochs", "accumulate"):
            if getattr(self, name) < 1:
                raise InputError(f"{_flag(name)} {getattr(self, name)} is not possible; give 1 or more")
        for name in ("warmup_steps", "warmup_epochs"):
            if getattr(self, name) < 0:
                raise InputError(f"--warmup {getattr(self, name)} is not possible; give 0 or more")
        for name in ("lr", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{_flag(name)} {getattr(self, name)} is not possible; give 0 or more")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"{_flag('clip_norm')} {self.clip_norm} is not possible; give a number above 0")
        if self.batch_size % self.accumulate:
            raise InputError(
                f"--batch-size {self.batch_size} cannot be split into {self.accumulate} equal micro-batches; "
                f"give an --accumulate that divides it"
            )
        if self.objective != CONTRASTIVE and self.lock != "none":
            raise InputError(f"--lock {self.lock} is for the contrastive objective; leave it out for {self.objective}")


_CHOICES = {
    "objective": OBJECTIVES,
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "lock": LOCKS,
}


def recipe_values(recipe: Recipe) -> dict[str, object]:
    """The recipe's values by name, without their sources."""
    return {part.name: getattr(recipe, part.name) for part in fields(recipe) if part.name != "sources"}


def unread_values(recipe: Recipe) -> frozenset[str]:
    """The values that this recipe's objective, optimiser and schedule do not look at.

    >>> sorted(unread_values(Recipe("supervised", "RN50", "sgd", lr=0.1, batch_size=256, epochs=90)))
    ['betas', 'caption', 'colour', 'eps', 'lock', 'milestones', 'temperature']
    """
    unread = {"betas", "eps"} if recipe.optimiser in ("sgd", "lars") else {"momentum"}
    if recipe.schedule != "steps":
        unread.add("milestones")
    if recipe.objective != CONTRASTIVE:
        unread |= {"caption", "lock"}
    return frozenset(unread | ({"flip"} if recipe.objective == SIMCLR else {"colour", "temperature"}))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
