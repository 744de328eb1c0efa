"""A training recipe: every number that a run depends on, checked when the recipe is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields

from imagenet_captions.errors import InputError
from imagenet_captions.models.config import check_name
from imagenet_captions.options import REQUIRED, check, option

CONTRASTIVE, SUPERVISED, SIMCLR = OBJECTIVES = ("contrastive", "supervised", "simclr")
OPTIMISERS = ("adamw", "sgd", "lars", "lamb")
SCHEDULES = ("cosine", "linear", "steps", "constant")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
CROPS = ("resized", "placed")
ACCUMULATE = "Split the images of a step into N parts; images are compared within a part."


@dataclass(frozen=True)
class Recipe:
    """One way to train. `references` names where each value was published; a value without one is our choice.

    `differences` says, a sentence each, where a recipe that is named for a publication is not as published.

    `batch_size` is the images of one step of the optimizer, over all devices and accumulated micro-batches. `lr` grows
    linearly over the warm-up and then follows `schedule` down to `min_lr`; `milestones` are the epochs at which "steps"
    cuts it by ten. `accumulate` splits a step's images into so many micro-batches; the contrastive losses compare
    within one of them.

    The crop "resized" takes a random part of the image, whose share of it lies within `crop_scale`; "placed" takes a
    square of the model's size at a random place of the image, resized as for testing. `randaugment` is the number of
    random operations and their strength, or empty; `mixup` is the alpha of the share to which two images are mixed.
    `drop_path` is the rate of stochastic depth. `colour` is the strength of SimCLR's changes of color and
    `temperature` its loss's; CLIP learns its own temperature, and SimCLR always flips.
    `caption` is a caption template, drawn anew each epoch; without one, captions are those that the data has.
    """

    objective: str
    model: str = option(
        "The model to build: RN50, RN101, ViT-B-32, ViT-B-16, ViT-L-14, resnet50, align, align-large, basic, "
        "basic-medium, micro, vit-micro, align-micro, basic-micro, open_clip:NAME or timm:NAME.",
        REQUIRED,
    )
    optimiser: str = field(default=REQUIRED)
    lr: float = option("The highest learning rate.", REQUIRED, least=0)
    batch_size: int = option("Images a step, over all devices.", REQUIRED, least=1)
    epochs: int = option("Number of epochs.", REQUIRED, least=1)
    schedule: str = "cosine"
    warmup_steps: int = option(
        "Steps over which the learning rate grows to its highest.", 0, flag="--warmup", metavar="STEPS", least=0
    )
    warmup_epochs: int = 0
    milestones: tuple[int, ...] = ()
    min_lr: float = 0.0
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = option("Weight decay.", 0.0, least=0)
    clip_norm: float | None = option("Scale gradients down to this norm.")
    accumulate: int = option(ACCUMULATE, 1, least=1)
    precision: str = option("Number format of the computation.", "32", choices=PRECISIONS)
    crop: str = "resized"
    crop_scale: tuple[float, float] = (0.9, 1.0)
    flip: bool = False
    randaugment: tuple[int, ...] = ()
    mixup: float = 0.0
    label_smoothing: float = 0.0
    drop_path: float = option("Rate of stochastic depth, for timm's models.", 0.0)
    colour: float = 0.0
    temperature: float = 0.1
    lock: str = option("Keep this tower as it is, its batch statistics too.", "none", choices=("image", "text"))
    sync_batchnorm: bool = False
    caption: str | None = option("What makes a caption, drawn anew each epoch; see `Captions` below.")
    references: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    differences: tuple[str, ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        check(self)
        check_name(self.model)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"`{name}` must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        for name in ("warmup_epochs", "lr", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"`{name}` must be at least 0 and finite, not {getattr(self, name)}")
        self._check_regularisation()
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise InputError(f"`clip_norm` must be above 0, not {self.clip_norm}")
        if self.batch_size % self.accumulate:
            raise InputError(
                f"`batch_size` {self.batch_size} cannot be split into {self.accumulate} equal micro-batches; "
                f"give an `accumulate` that divides it"
            )
        if self.objective != CONTRASTIVE and self.lock != "none":
            raise InputError(f"`lock` {self.lock} is for the contrastive objective; leave it out for {self.objective}")

    def _check_regularisation(self) -> None:
        if not 0 <= self.min_lr <= self.lr:
            raise InputError(f"`min_lr` must be from 0 to the learning rate of {self.lr}, not {self.min_lr}")
        for name in ("label_smoothing", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"`{name}` must be at least 0 and below 1, not {getattr(self, name)}")
        if not (math.isfinite(self.mixup) and self.mixup >= 0):
            raise InputError(f"`mixup` must be at least 0 and finite, not {self.mixup}")
        if len(self.randaugment) not in (0, 2):
            raise InputError(f"`randaugment` must be operations and strength, or none, not {self.randaugment}")


_CHOICES = {
    "objective": OBJECTIVES,
    "optimiser": OPTIMISERS,
    "schedule": SCHEDULES,
    "crop": CROPS,
}


def recipe_values(recipe: Recipe) -> dict[str, object]:
    """Return the recipe's values by name, without its references and notes."""
    return {part.name: getattr(recipe, part.name) for part in fields(recipe) if part.compare}


def recipe_defaults() -> dict[str, object]:
    """Return the default values, as JSON, that complete an older record."""
    given = {part.name: part.default for part in fields(Recipe) if part.compare and part.default is not MISSING}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def unread_values(recipe: Recipe) -> frozenset[str]:
    """Return the values that this recipe's objective, optimizer and schedule do not use.

    >>> sorted(unread_values(Recipe("supervised", "RN50", "sgd", lr=0.1, batch_size=256, epochs=90)))
    ['betas', 'caption', 'colour', 'eps', 'lock', 'milestones', 'temperature']
    """
    unread = {"betas", "eps"} if recipe.optimiser in ("sgd", "lars") else {"momentum"}
    unread |= set() if recipe.optimiser == "sgd" else {"nesterov"}
    unread |= {"min_lr"} if recipe.schedule == "steps" else {"milestones"}
    unread |= set() if recipe.objective == CONTRASTIVE else {"caption", "lock"}
    unread |= set() if recipe.objective == SUPERVISED else {"mixup"}
    if recipe.objective == SIMCLR:
        return frozenset(unread | {"flip", "crop", "randaugment", "label_smoothing"})
    return frozenset(unread | {"colour", "temperature"} | ({"crop_scale"} if recipe.crop == "placed" else set()))
