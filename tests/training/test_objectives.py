"""Each loss against plain loops, and over two processes against one."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from imagenet_captions.training.batches import Batch
from imagenet_captions.training.module import make_objective
from imagenet_captions.training.recipes import find_recipe
from tests.training.made import run_together

Floats = npt.NDArray[np.float64]


def naive_nt_xent(one: Floats, other: Floats, temperature: float) -> float:
    """SimCLR's algorithm 1: views 2k and 2k+1 are of one image."""
    views = [view / np.linalg.norm(view) for pair in zip(one, other, strict=True) for view in pair]
    total = 0.0
    for i in range(len(views)):
        partner = i + 1 if i % 2 == 0 else i - 1
        similar = [math.exp(float(np.dot(views[i], views[k])) / temperature) for k in range(len(views))]
        total -= math.log(similar[partner] / (sum(similar) - similar[i]))
    return total / len(views)


class Given(nn.Module):
    """A model whose features are the batch's own, so that a loss can be checked by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_images(self, pixels: Tensor) -> Tensor:
        return functional.normalize(pixels, dim=1)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        return functional.normalize(tokens, dim=1)

    def class_logits(self, pixels: Tensor) -> Tensor:
        return pixels

    def embed_views(self, pixels: Tensor) -> Tensor:
        return pixels


def batch_of(images: Tensor, **more: Any) -> Batch:
    values = {"other": None, "tokens": None, "labels": torch.full((len(images),), -1), **more}
    return Batch(images=images, texts=(), **values)


def two(seed: int = 0, rows: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    return one, other


def test_cross_entropy_has_no_label_smoothing() -> None:
    logits, _ = two()
    labels = [0, 4, 2, 2, 1, 3]
    loss = make_objective(find_recipe("supervised"))(Given(), batch_of(logits, labels=torch.tensor(labels)))
    naive = [
        math.log(sum(math.exp(each - row[label]) for each in row))
        for row, label in zip(logits.tolist(), labels, strict=True)
    ]
    assert loss.item() == pytest.approx(sum(naive) / 6, rel=1e-9)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_compares_the_two_views_of_the_batch(temperature: float) -> None:
    one, other = two()
    objective = make_objective(replace(find_recipe("simclr"), temperature=temperature))
    wanted = naive_nt_xent(one.numpy(), other.numpy(), temperature)
    assert objective(Given(), batch_of(one, other=other)).item() == pytest.approx(wanted, rel=1e-5)


def _loss_and_gradients(rank: int, processes: int, name: str) -> tuple[Tensor, ...]:
    """The loss of this process's share of eight rows, and what it sends back to them and to the logit scale."""
    rows = slice(8 // processes * rank, 8 // processes * (rank + 1))
    one, other = (each[rows].clone().requires_grad_() for each in two(rows=8))
    model = Given()
    batch = batch_of(one, **{"other" if name == "simclr" else "tokens": other})
    loss = make_objective(find_recipe(name), rank, processes)(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    scale = model.logit_scale.grad if model.logit_scale.grad is not None else torch.zeros(())
    assert one.grad is not None
    assert other.grad is not None
    return loss.detach(), scale, one.grad, other.grad


CASES = ("contrastive", "align", "simclr")  # align's loss has label smoothing


def _every_case(rank: int, world_size: int) -> list[tuple[Tensor, ...]]:
    return [_loss_and_gradients(rank, world_size, name) for name in CASES]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:torch.distributed.nn.functional:FutureWarning")
def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    apart = run_together(_every_case, 2, tmp_path)
    for place, name in enumerate(CASES):
        loss, scale, *features = _loss_and_gradients(0, 1, name)
        parts = [results[place] for results in apart]
        # DDP averages over processes, so each one's features carry half of what they send back.
        torch.testing.assert_close((parts[0][0] + parts[1][0]) / 2, loss, rtol=1e-6, atol=0)
        torch.testing.assert_close((parts[0][1] + parts[1][1]) / 2, scale, rtol=1e-5, atol=1e-8)
        for kind, whole in enumerate(features, start=2):
            together = torch.cat([part[kind] for part in parts]) / 2
            torch.testing.assert_close(together, whole, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_clips_loss_is_the_cross_entropy_of_pairs_with_soft_targets(smoothing: float) -> None:
    images, texts = (functional.normalize(each, dim=1) for each in two())
    recipe = replace(find_recipe("contrastive"), label_smoothing=smoothing)
    found = make_objective(recipe)(Given(), batch_of(images, tokens=texts))
    logits = images @ texts.T / 0.07
    wanted = smoothing / 6 + (1 - smoothing) * torch.eye(6, dtype=torch.float64)
    both = [-(wanted * each.log_softmax(dim=1)).sum(dim=1).mean() for each in (logits, logits.T)]
    assert float(found.detach()) == pytest.approx(float(sum(both)) / 2, rel=1e-6)


def test_mixup_with_smoothed_labels_is_cross_entropy_with_soft_targets() -> None:
    images, _ = two(width=4)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    recipe = replace(find_recipe("basic-supervised"), mixup=0.8, label_smoothing=0.1)
    torch.manual_seed(3)
    share = float(torch.distributions.Beta(0.8, 0.8).sample())
    torch.manual_seed(3)
    found = make_objective(recipe)(Given(), batch_of(images, labels=labels))
    one_hot = functional.one_hot(labels, 4).double() * 0.9 + 0.1 / 4
    wanted = share * one_hot + (1 - share) * one_hot.flip(0)
    logits = share * images + (1 - share) * images.flip(0)
    assert float(found) == pytest.approx(float(-(wanted * logits.log_softmax(dim=1)).sum(dim=1).mean()))
    assert 0 < share < 1
