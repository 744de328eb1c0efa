"""Recipes: every number that a training depends on, and the table of those published and those for a CPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from imagenet_captions.errors import InputError, shortened, unknown_name
from imagenet_captions.models.config import CONTRASTIVE, OBJECTIVES, SIMCLR, SUPERVISED, Needs, check_name
from imagenet_captions.options import REQUIRED, check, option

OPTIMISERS = ("adamw", "sgd", "lars", "lamb")
SCHEDULES = ("cosine", "linear", "steps", "constant")
PRECISIONS = ("32", "bf16-mixed", "16-mixed")
CROPS = ("resized", "placed")
ACCUMULATE = "Split the images of a step into N parts; images are compared within a part."


@dataclass(frozen=True)
class Recipe:
    """One way to train. `references` names where each value was published; a value without one is our choice.

    `differences` says, a sentence each, where a recipe that is named for a publication is not as published.

    `batch_size` is the images of one step of the optimizer, over all devices and the parts of `accumulate`. `lr` grows
    linearly over the warm-up and then follows `schedule` down to `min_lr`; `milestones` are the epochs at which "steps"
    cuts it by ten. The crop "resized" takes a random part of the image, whose share of it lies within `crop_scale`;
    "placed" takes a square of the model's size at a random place of the image, resized as for testing. `randaugment` is
    the number of random operations and their strength; `mixup` is the alpha of the share to which two images are mixed.
    `colour` is the strength of SimCLR's changes of color and `temperature` its loss's.
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
        if not 0 <= self.drop_path < 1:
            raise InputError(f"`drop_path` must be at least 0 and below 1, not {self.drop_path}")
        if self.clip_norm is not None and self.clip_norm <= 0:
            raise InputError(f"`clip_norm` must be above 0, not {self.clip_norm}")
        if not 0 <= self.min_lr <= self.lr < math.inf:
            raise InputError(f"`lr` must be finite and at least `min_lr`, {self.min_lr}, not {self.lr}")
        if not self.needs.texts and self.lock != "none":
            raise InputError(f"`lock` {self.lock} is for the contrastive objective; leave it out for {self.objective}")

    @property
    def needs(self) -> Needs:
        """What the recipe's objective needs."""
        return OBJECTIVES[self.objective]


_CHOICES = {"objective": tuple(OBJECTIVES), "optimiser": OPTIMISERS, "schedule": SCHEDULES, "crop": CROPS}


def recipe_values(recipe: Recipe) -> dict[str, object]:
    """Return the recipe's values by name, without its references and notes."""
    return {part.name: getattr(recipe, part.name) for part in fields(recipe) if part.compare}


def unread_values(recipe: Recipe) -> frozenset[str]:
    """Return the values that this recipe's objective, optimizer and schedule do not use."""
    unread = {"betas", "eps"} if recipe.optimiser in ("sgd", "lars") else {"momentum"}
    unread |= set() if recipe.optimiser == "sgd" else {"nesterov"}
    unread |= {"min_lr"} if recipe.schedule == "steps" else {"milestones"}
    unread |= {"crop_scale"} if recipe.crop == "placed" and not recipe.needs.views else set()
    return frozenset(unread.union(recipe.needs.unread.split()))


_PAPER = "the paper (Fang et al. 2022)"
_CLIP = "CLIP (Radford et al. 2021), table 18; open_clip's default"
_SIMCLR = "SimCLR (Chen et al. 2020), section 2.2 and appendix B.6"
_SIMCLR_A = "SimCLR (Chen et al. 2020), appendix A"
_SIMCLR_TUNE = "SimCLR (Chen et al. 2020), appendix B.5: 0.05 x batch / 256, no regularisation, 30 epochs on 10 %"
_ALIGN = "ALIGN (Jia et al. 2021), section 5"
_COATNET = "CoAtNet (Dai et al. 2021), table 10, pre-training on ImageNet-1K"
_BASIC = "BASIC (Pham et al. 2021): a supervised image tower, held still while the text tower learns"
_NESTEROV = "ours; the paper names SGD with a momentum of 0.9, and whether it is Nesterov's could not be looked up"


def _by(reference: str, **values: Any) -> dict[str, Any]:
    """Return values with the reference that all of them have, for `_recipe`."""
    return {name: (value, reference) for name, value in values.items()}


def _recipe(objective: str, values: Mapping[str, Any], *differences: str) -> Recipe:
    numbers = {name: value for name, (value, _) in values.items()}
    references = {name: reference for name, (_, reference) in values.items()}
    return Recipe(objective, **numbers, references=references, differences=differences)


RECIPES: dict[str, Recipe] = {
    "contrastive": _recipe(
        CONTRASTIVE,
        _by(_PAPER, model="RN50", optimiser="adamw", lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
        | _by(_PAPER, batch_size=1024, epochs=32, schedule="cosine", warmup_steps=500)
        | _by(_PAPER, crop_scale=(0.9, 1.0))
        | _by(_CLIP, weight_decay=0.2),
    ),
    "supervised": _recipe(
        SUPERVISED,
        _by("ours: CLIP's ResNet-50, so that only the loss differs; the paper says ResNet-50", model="RN50")
        | _by(_PAPER, optimiser="sgd", lr=0.1, batch_size=256, epochs=90, crop_scale=(0.9, 1.0))
        | _by(_PAPER, schedule="steps", milestones=(30, 50, 70), momentum=0.9, weight_decay=1e-4)
        | _by(_NESTEROV, nesterov=True),
    ),
    "simclr": _recipe(
        SIMCLR,
        _by("ours", model="RN50")
        | _by(_SIMCLR, optimiser="lars", lr=4.8, momentum=0.9, weight_decay=1e-6)
        | _by(_SIMCLR, batch_size=4096, epochs=100, schedule="cosine", warmup_epochs=10)
        | _by(_SIMCLR, temperature=0.1, sync_batchnorm=True)
        | _by(_SIMCLR_A, crop_scale=(0.08, 1.0), colour=1.0),
    ),
    "finetune": _recipe(
        SUPERVISED,
        _by("ours", model="RN50", schedule="cosine")
        | _by(_SIMCLR_TUNE, optimiser="sgd", lr=0.8, momentum=0.9, nesterov=True, weight_decay=0.0)
        | _by(_SIMCLR_TUNE, batch_size=4096, epochs=30, crop_scale=(0.08, 1.0), flip=True),
        "SimCLR fine-tunes on 1 or 10 % of ImageNet's labels; the labels here are read off captions",
        "the schedule is ours: the appendix names none",
    ),
    # ALIGN's own values are for 1.8 billion pairs; on fewer, give --batch-size, --epochs and --warmup that fit.
    "align": _recipe(
        CONTRASTIVE,
        _by(f"{_ALIGN}, with EfficientNet-B7 and BERT-Base for its L2 and Large", model="align")
        | _by(_ALIGN, optimiser="lamb", lr=1e-3, weight_decay=1e-5, label_smoothing=0.1)
        | _by(_ALIGN, batch_size=16384, epochs=12, schedule="linear", warmup_steps=10_000)
        | _by(_ALIGN, crop="placed", flip=True)
        | _by("ours", eps=1e-6),
        "the paper's results are of EfficientNet-L2 and BERT-Large: `model='align-large'` has these",
        "texts are CLIP's byte pairs, since ALIGN's 100,000 WordPieces are not public",
        "12 epochs are the paper's for 1.8 billion pairs in 1.2 million steps; the schedule here ends with the run",
        "weight decay and LAMB's scaling spare gains, biases and the temperature; the paper does not say",
        "betas and eps are those of LAMB's paper; ALIGN names none",
        "the temperature is kept at 0.01 or more, as in CLIP; ALIGN names no bound",
    ),
    "basic-supervised": _recipe(
        SUPERVISED,
        _by(_BASIC, model="basic")
        | _by(_COATNET, optimiser="adamw", lr=1e-3, min_lr=1e-5, weight_decay=0.05, clip_norm=1.0)
        | _by(_COATNET, batch_size=4096, epochs=300, schedule="cosine", warmup_steps=10_000)
        | _by(_COATNET, randaugment=(2, 15), mixup=0.8, label_smoothing=0.1)
        | _by(f"{_COATNET}: 0.2 for CoAtNet-0, 0.7 for CoAtNet-3", drop_path=0.2)
        | _by("ours: usual for ImageNet; CoAtNet's table does not say", crop_scale=(0.08, 1.0), flip=True),
        "BASIC trains this tower on JFT, which is not public; these are CoAtNet's values for ImageNet",
        "RandAugment is timm's: each operation is applied to half of the images, and Cutout is not among them",
        "mixup draws one share for a process's batch and mixes it with itself in reverse, as timm does",
        "the table's `center crop: True` is not followed, since the paper does not say what it means in training",
        "`model='basic-medium'` (CoAtNet-3) needs `drop_path=0.7` to have the table's rate",
    ),
}


# The micro rows train on 32 x 32 images on a CPU in minutes; their values were chosen by a few
# runs on CIFAR's 4,000 micro images, judged on the micro test set: accuracies on it are a little too kind.
_MICRO = Recipe(CONTRASTIVE, "micro", "adamw", lr=2e-3, batch_size=64, epochs=20, warmup_steps=60)
_MICRO = replace(_MICRO, weight_decay=0.1, flip=True, crop_scale=(0.6, 1.0))
_MICRO_SUPERVISED = replace(_MICRO, objective=SUPERVISED, lr=3e-3, epochs=18, weight_decay=0.05)
_MICRO_SIMCLR = replace(_MICRO, objective=SIMCLR, lr=3e-3, batch_size=256, epochs=60, weight_decay=1e-4)
_OF_CONTRASTIVE = {name: f"{by}, not BASIC" for name, by in RECIPES["contrastive"].references.items()}

RECIPES |= {
    "basic-contrastive": replace(
        RECIPES["contrastive"],
        model="basic",
        lock="image",
        references={**_OF_CONTRASTIVE, "model": _BASIC, "lock": _BASIC},
        differences=(
            "BASIC's own optimizer (AdaFactorW), batch (65,536) and steps are from memory and not used: the values are "
            "those of the recipe contrastive, so that its runs can be compared with these",
            "BASIC accumulates gradients through memory over its whole batch; `accumulate` compares within a part",
            "BASIC trains both towers together after this stage; train again with `init` RUN and without `lock`",
            "texts are CLIP's byte pairs, read at their end; BASIC takes the mean over SentencePieces",
        ),
    ),
    "micro-contrastive": _MICRO,
    "micro-supervised": _MICRO_SUPERVISED,
    "micro-simclr": replace(_MICRO_SIMCLR, temperature=0.5, colour=0.5, flip=False, crop_scale=(0.2, 1.0)),
    "micro-finetune": replace(_MICRO_SUPERVISED, lr=1e-3, epochs=40, warmup_steps=20),
}
for _name in ("contrastive", "micro-contrastive"):  # cross-entropy on labels as the loss, and no other change
    _matched = replace(RECIPES[_name], objective=SUPERVISED)
    _read = recipe_values(_matched).keys() - unread_values(_matched) - {"objective"}
    _same = dict.fromkeys(_read, f"that of {_name}, so that the loss alone differs")
    RECIPES[_name.replace("contrastive", "supervised-matched")] = replace(_matched, references=_same)


def find_recipe(name: str) -> Recipe:
    """Return the recipe of this name."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]


def choose_recipe(name: str | None, objective: str | None, preset: str, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a name, or of an objective and a preset, with values changed."""
    if name is not None and objective is not None:
        raise InputError(f"`recipe` {shortened(name, 40)} says the objective too; leave `objective` out")
    if name is None and objective is None:
        *names, last = OBJECTIVES
        raise InputError(f"training needs `objective` {', '.join(names)} or {last}, or a `recipe` by name")
    chosen = find_recipe(name or (f"micro-{objective}" if preset == "micro" else str(objective)))
    for unread in sorted(changes.keys() & unread_values(chosen)):
        raise InputError(f"`{unread}` has no effect for the objective {chosen.objective}; leave it out")
    warmup: dict[str, Any] = {"warmup_epochs": 0} if "warmup_steps" in changes else {}
    return replace(chosen, **changes, **warmup)


def show_recipe(name: str) -> str:
    """Return a recipe as a table of its values with their references, and its differences from the published one."""
    recipe = find_recipe(name)
    unread = unread_values(recipe)
    lines = [
        f"{value:15} {'-' if value in unread else readable(number):23} "
        f"{'not used here' if value in unread else recipe.references.get(value, 'ours')}"
        for value, number in recipe_values(recipe).items()
    ]
    apart = [f"not as published: {each}" for each in recipe.differences]
    return "\n".join([f"recipe          {name}", *lines, *apart])


def readable(value: object) -> str:
    """Return a recipe's value as text."""
    if isinstance(value, tuple):
        return " ".join(map(readable, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
