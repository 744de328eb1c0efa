"""The table of recipes, what it prints, and the learning rates that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from imagenet_captions.errors import InputError
from imagenet_captions.training.module import Length, learning_rate, make_optimiser
from imagenet_captions.training.recipes import RECIPES, find_recipe, show_recipe, unread_values


def test_the_papers_rows() -> None:
    contrastive, supervised = find_recipe("contrastive"), find_recipe("supervised")
    assert (contrastive.optimiser, contrastive.lr, contrastive.schedule, contrastive.warmup_steps) == (
        "adamw",
        1e-3,
        "cosine",
        500,
    )
    assert (contrastive.betas, contrastive.eps) == ((0.9, 0.999), 1e-8)
    assert (contrastive.batch_size, contrastive.epochs) == (1024, 32)
    assert (supervised.optimiser, supervised.momentum, supervised.weight_decay) == ("sgd", 0.9, 1e-4)
    assert (supervised.batch_size, supervised.lr) == (256, 0.1)
    assert (supervised.milestones, supervised.epochs) == ((30, 50, 70), 90)
    assert contrastive.crop_scale == supervised.crop_scale == (0.9, 1.0)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_shown_with_all_its_values_and_their_references(name: str) -> None:
    shown = show_recipe(name)
    for value, reference in RECIPES[name].references.items():
        (line,) = [line for line in shown.splitlines() if line.startswith(f"{value:15} ")]
        assert line.endswith(reference)
    assert f"lr              {RECIPES[name].lr:g}" in shown


def test_what_a_recipe_does_not_look_at_is_said_and_has_no_reference() -> None:
    shown = show_recipe("supervised").splitlines()
    unused = [line.split()[0] for line in shown if line.endswith("not used here")]
    assert unused == ["min_lr", "betas", "eps", "colour", "temperature", "lock", "caption"]
    for name, recipe in RECIPES.items():
        assert not unread_values(recipe) & recipe.references.keys(), name


def test_what_is_not_as_published_is_printed_with_the_recipe() -> None:
    for name, words in (
        ("align", "CLIP's byte pairs"),
        ("basic-supervised", "JFT, which is not public"),
        ("basic-contrastive", "AdaFactorW"),
        ("finetune", "the schedule is ours"),
    ):
        found = [line for line in show_recipe(name).splitlines() if line.startswith("not as published: ")]
        assert len(found) == len(find_recipe(name).differences)
        assert any(words in line for line in found)
    assert "nesterov        yes                     ours; the paper names SGD" in show_recipe("supervised")


def test_the_rows_of_align_and_coatnet_are_the_papers() -> None:
    align, basic = find_recipe("align"), find_recipe("basic-supervised")
    assert (align.optimiser, align.lr, align.weight_decay, align.batch_size) == ("lamb", 1e-3, 1e-5, 16384)
    assert (align.crop, align.flip, align.label_smoothing) == ("placed", True, 0.1)
    assert (basic.optimiser, basic.lr, basic.min_lr, basic.weight_decay) == ("adamw", 1e-3, 1e-5, 0.05)
    assert (basic.randaugment, basic.mixup, basic.label_smoothing, basic.drop_path) == ((2, 15), 0.8, 0.1, 0.2)
    assert (basic.batch_size, basic.epochs, basic.warmup_steps, basic.clip_norm) == (4096, 300, 10_000, 1.0)


def test_an_unknown_recipe_is_refused_with_the_closest_names() -> None:
    with pytest.raises(InputError, match=r"no recipe is called 'contrastiv'; did you mean contrastive"):
        show_recipe("contrastiv")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1, not 0"),
        ({"lr": float("nan")}, "`lr` must be at least 0, not nan"),
        ({"weight_decay": -1.0}, "`weight_decay` must be at least 0, not -1"),
        ({"warmup_steps": -1}, "`warmup_steps` must be at least 0, not -1"),
        ({"accumulate": 3}, "cannot be split into 3 equal micro-batches"),
        ({"precision": "8"}, "`precision` must be one of 32, bf16-mixed"),
        ({"clip_norm": 0.0}, "`clip_norm` must be above 0, not 0.0"),
        ({"min_lr": 1.0}, r"`min_lr` must be from 0 to the learning rate of 0.001, not 1.0"),
        ({"drop_path": 1.0}, "`drop_path` must be at least 0 and below 1, not 1.0"),
        ({"label_smoothing": -0.1}, "`label_smoothing` must be at least 0 and below 1, not -0.1"),
        ({"mixup": float("inf")}, "`mixup` must be at least 0 and finite, not inf"),
        ({"randaugment": (2,)}, "must be operations and strength, or none"),
        ({"crop": "left"}, "`crop` must be one of resized, placed, not 'left'"),
        ({"objective": "supervised", "lock": "image"}, "`lock` image is for the contrastive objective"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        replace(find_recipe("contrastive"), **change)


def test_cosine_and_warm_up_are_open_clips() -> None:
    from open_clip_train.scheduler import cosine_lr

    theirs = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    adjust = cosine_lr(theirs, 1e-3, 500, 14_000)
    recipe = find_recipe("contrastive")
    for step in (0, 1, 499, 500, 7_000, 13_999):
        assert learning_rate(recipe, Length(14_000, 450), step) == pytest.approx(adjust(step), rel=1e-12)


def test_steps_cut_the_rate_by_ten_at_their_epochs() -> None:
    recipe, length = find_recipe("supervised"), Length(900, 10)
    rates = [learning_rate(recipe, length, step) for step in (0, 299, 300, 499, 500, 699, 700, 899)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])


def test_a_warm_up_in_epochs_and_a_linear_end() -> None:
    recipe = replace(find_recipe("simclr"), schedule="linear", lr=1.0, warmup_epochs=2)
    rates = [learning_rate(recipe, Length(24, 2), step) for step in (0, 3, 4, 14, 23)]
    assert rates == pytest.approx([0.25, 1.0, 1.0, 0.5, 0.05])


def test_the_lowest_rate_is_where_cosine_and_linear_end() -> None:
    for schedule in ("cosine", "linear"):
        recipe = replace(find_recipe("simclr"), schedule=schedule, lr=1.0, min_lr=0.2, warmup_epochs=0)
        rates = [learning_rate(recipe, Length(100, 10), step) for step in (0, 50, 100)]
        assert rates == pytest.approx([1.0, 0.6, 0.2])


def test_nesterovs_momentum_can_be_left_out() -> None:
    steps = []
    for nesterov in (True, False):
        weight = nn.Parameter(torch.ones(1))
        optimiser = make_optimiser(replace(find_recipe("supervised"), nesterov=nesterov), [("weight", weight)])
        weight.grad = torch.ones(1)
        optimiser.step()
        steps.append(1 - float(weight.detach()))
    assert steps == pytest.approx([0.1 * 1.0001 * 1.9, 0.1 * 1.0001], rel=1e-4)


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
