"""Gradient checkpointing: the same gradients and batch statistics, with less kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from imagenet_captions.errors import InputError
from imagenet_captions.models.build import build_model
from imagenet_captions.models.hardware import checkpoint_blocks, gpu_settings
from imagenet_captions.models.model import Model
from tests.models.conftest import pixels

TEXTS = ["a dog", "a cat", "two fish", "the sea"]


def a_step(model: Model) -> tuple[list[torch.Tensor], int]:
    """The gradients of a step, and how many bytes its forward pass kept for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    model.train()
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        images = model.embed_images(pixels(4, model.spec.size))
        texts = model.embed_texts(model.tokenize(TEXTS)) if model.has_text else images.flip(0)
        loss = (images @ texts.T).diagonal().sum()
    bytes_kept = sum(kept.values())
    loss.backward()
    return [each.grad for each in model.parameters() if each.grad is not None], bytes_kept


@pytest.mark.parametrize("name", ["basic-micro", "vit-micro", "align-micro"])
def test_gradients_and_batch_statistics_are_those_without_it(name: str) -> None:
    model = build_model(name, 0)
    again = copy.deepcopy(model)
    assert checkpoint_blocks(again) > 2
    (gradients, kept), (same, less) = a_step(model), a_step(again)
    assert less < 0.8 * kept
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(gradients, same, strict=True))
    for part, other in zip(model.modules(), again.modules(), strict=True):
        if isinstance(part, nn.BatchNorm2d):
            assert torch.allclose(part.running_mean, other.running_mean, atol=1e-6)
            assert torch.allclose(part.running_var, other.running_var, atol=1e-6)
            assert part.momentum == other.momentum
    assert model.state_dict().keys() == again.state_dict().keys()


@pytest.mark.parametrize(("name", "least"), [("RN50", 20), ("ViT-B-32", 24), ("align", 60), ("basic-medium", 30)])
def test_the_large_models_have_blocks(name: str, least: int) -> None:
    from imagenet_captions.models.build import build
    from imagenet_captions.models.config import config_of

    with torch.device("meta"):
        model = build(config_of(name))
    assert checkpoint_blocks(model) >= least


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(InputError, match="`grad_checkpointing=True` has no effect on this model"):
        checkpoint_blocks(nn.Sequential(nn.Linear(2, 2)))


def test_a_gpu_gets_channels_last_and_tf32_and_a_cpu_neither() -> None:
    model = nn.Conv2d(3, 4, 3)
    before = torch.get_float32_matmul_precision()
    with gpu_settings(torch.device("cpu"), model):
        assert torch.get_float32_matmul_precision() == before
        assert model.weight.is_contiguous()
    with gpu_settings(torch.device("cuda"), model):
        assert torch.get_float32_matmul_precision() == "high"
        assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.get_float32_matmul_precision() == before
