"""The table of recipes, what it prints, and the learning rates that follow from it."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter
from typing import Any

import pytest
import torch
from open_clip_train.scheduler import cosine_lr
from torch import nn

from imagenet_captions.errors import InputError
from imagenet_captions.training.module import Length, learning_rate, make_optimiser
from imagenet_captions.training.recipes import RECIPES, find_recipe, show_recipe, unread_values


@pytest.mark.parametrize(
    ("name", "fields", "values"),
    [
        ("contrastive", "optimiser lr schedule warmup_steps", ("adamw", 1e-3, "cosine", 500)),
        ("contrastive", "betas eps batch_size epochs crop_scale", ((0.9, 0.999), 1e-8, 1024, 32, (0.9, 1.0))),
        ("supervised", "optimiser momentum weight_decay", ("sgd", 0.9, 1e-4)),
        ("supervised", "batch_size lr milestones epochs crop_scale", (256, 0.1, (30, 50, 70), 90, (0.9, 1.0))),
        ("align", "optimiser lr weight_decay batch_size", ("lamb", 1e-3, 1e-5, 16384)),
        ("align", "crop flip label_smoothing", ("placed", True, 0.1)),
        ("basic-supervised", "optimiser lr min_lr weight_decay", ("adamw", 1e-3, 1e-5, 0.05)),
        ("basic-supervised", "randaugment mixup label_smoothing drop_path", ((2, 15), 0.8, 0.1, 0.2)),
        ("basic-supervised", "batch_size epochs warmup_steps clip_norm", (4096, 300, 10_000, 1.0)),
        ("micro-contrastive", "lr batch_size epochs warmup_steps weight_decay", (2e-3, 64, 20, 60, 0.1)),
        ("micro-supervised", "lr batch_size epochs warmup_steps weight_decay", (3e-3, 64, 18, 60, 0.05)),
        ("micro-simclr", "lr batch_size epochs warmup_steps weight_decay", (3e-3, 256, 60, 60, 1e-4)),
    ],
)
def test_a_recipe_has_its_published_values(name: str, fields: str, values: tuple[Any, ...]) -> None:
    assert attrgetter(*fields.split())(find_recipe(name)) == values


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_shown_with_all_its_values_and_their_references(name: str) -> None:
    shown, recipe = show_recipe(name).splitlines(), find_recipe(name)
    for value, reference in recipe.references.items():
        (line,) = [line for line in shown if line.startswith(f"{value:15} ")]
        assert line.endswith(reference)
    assert f"lr              {recipe.lr:g}" in "\n".join(shown)
    unused = {line.split()[0] for line in shown if line.endswith("not used here")}
    assert unused == unread_values(recipe)
    assert not unused & recipe.references.keys()
    apart = [line.partition(": ")[2] for line in shown if line.startswith("not as published: ")]
    assert apart == [*recipe.differences]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, not 0"),
        ({"min_lr": 1.0}, r"`lr` must be finite and at least `min_lr`, 1.0, not 0.001"),
        ({"clip_norm": 0.0}, "`clip_norm` must be above 0, not 0.0"),
        ({"drop_path": 1.0}, "`drop_path` must be at least 0 and below 1, not 1.0"),
        ({"objective": "supervised", "lock": "image"}, "`lock` image is for the contrastive objective"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(find_recipe("contrastive"), **change)


def test_cosine_and_warm_up_are_open_clips() -> None:
    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    adjust = cosine_lr(theirs, 1e-3, 500, 14_000)
    recipe = find_recipe("contrastive")
    for step in (0, 1, 499, 500, 7_000, 13_999):
        assert learning_rate(recipe, Length(14_000, 450), step) == pytest.approx(adjust(step), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "length", "rates"),
    [
        ({"schedule": "steps", "milestones": (30, 50)}, Length(900, 10), {0: 1, 299: 1, 300: 0.1, 499: 0.1, 500: 0.01}),
        ({"schedule": "linear", "warmup_epochs": 2}, Length(24, 2), {0: 0.25, 3: 1.0, 4: 1.0, 14: 0.5, 23: 0.05}),
        ({"schedule": "cosine", "min_lr": 0.2}, Length(100, 10), {0: 1.0, 50: 0.6, 100: 0.2}),
        ({"schedule": "linear", "min_lr": 0.2}, Length(100, 10), {0: 1.0, 50: 0.6, 100: 0.2}),
    ],
)
def test_learning_rates(change: dict[str, Any], length: Length, rates: dict[int, float]) -> None:
    recipe = replace(find_recipe("simclr"), **{"lr": 1.0, "warmup_epochs": 0, **change})
    assert {step: learning_rate(recipe, length, step) for step in rates} == pytest.approx(rates)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Linear(3, 3)
        self.norm = nn.LayerNorm(3)
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.logit_scale = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize(("name", "spared"), [("contrastive", 4), ("simclr", 4), ("align", 4), ("supervised", 0)])
def test_weight_decay_spares_gains_biases_and_the_logit_scale(name: str, spared: int) -> None:
    optimiser = make_optimiser(find_recipe(name), Small().named_parameters())
    counts = {group["weight_decay"]: len(group["params"]) for group in optimiser.param_groups}
    assert sum(counts.values()) == 5, "the frozen layer has no place in the optimiser"
    assert counts.get(0.0, 0) == spared
