"""Each loss against plain loops, and over two processes against one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from imagenet_captions.training.objectives import make_objective, nt_xent
from imagenet_captions.training.recipes import find_recipe
from tests.training import naive
from tests.training.processes import run_together


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


def two(seed: int = 0, rows: int = 6, width: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    one, other = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    return one, other


def unit(features: Tensor) -> Any:
    return functional.normalize(features, dim=1).numpy()


def test_the_contrastive_loss_is_clips() -> None:
    images, texts = two()
    batch = {"pixels": images, "tokens": texts}
    loss = make_objective(find_recipe("contrastive"))(Given(), batch)
    assert loss.item() == pytest.approx(naive.contrastive(unit(images), unit(texts), 1 / 0.07), rel=1e-6)


def test_cross_entropy_has_no_label_smoothing() -> None:
    logits, _ = two()
    labels = [0, 4, 2, 2, 1, 3]
    loss = make_objective(find_recipe("supervised"))(Given(), {"pixels": logits, "labels": torch.tensor(labels)})
    assert loss.item() == pytest.approx(naive.cross_entropy(logits.numpy(), labels), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_simclrs(temperature: float) -> None:
    one, other = two()
    expected = naive.nt_xent(one.numpy(), other.numpy(), temperature)
    assert nt_xent(one, other, temperature).item() == pytest.approx(expected, rel=1e-5)


def test_simclr_compares_the_two_views_of_the_batch() -> None:
    one, other = two()
    loss = make_objective(find_recipe("simclr"))(Given(), {"pixels": one, "other_pixels": other})
    assert loss.item() == pytest.approx(naive.nt_xent(one.numpy(), other.numpy(), 0.1), rel=1e-5)


def _loss_and_gradients(rank: int, world_size: int, name: str) -> tuple[float, Tensor, Tensor, Tensor]:
    """The loss of this process's share of the rows, and what it sends back to them and to the logit scale."""
    one, other = (each.chunk(world_size)[rank].clone().requires_grad_() for each in two(rows=8))
    model = Given()
    batch = {"pixels": one, "tokens" if name == "contrastive" else "other_pixels": other}
    loss = make_objective(find_recipe(name), rank, world_size)(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    scale = model.logit_scale.grad if model.logit_scale.grad is not None else torch.zeros(())
    assert one.grad is not None
    assert other.grad is not None
    return loss.item(), one.grad, other.grad, scale


@pytest.mark.filterwarnings("ignore:torch.distributed.nn.functional:FutureWarning")
@pytest.mark.parametrize("name", ["contrastive", "simclr"])
def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path: Path, name: str) -> None:
    whole = _loss_and_gradients(0, 1, name)
    parts = run_together(_loss_and_gradients, 2, tmp_path, name)
    assert sum(part[0] for part in parts) / 2 == pytest.approx(whole[0], rel=1e-6)
    for place in (1, 2):
        # DDP averages the gradients of the processes, so each one's features carry half of what they send back.
        together = torch.cat([part[place] for part in parts]) / 2
        torch.testing.assert_close(together, whole[place], rtol=1e-5, atol=1e-8)
    torch.testing.assert_close((parts[0][3] + parts[1][3]) / 2, whole[3], rtol=1e-5, atol=1e-8)
