"""The model that training and evaluation see: its face, its parts, its description, its tokens, the presets."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from imagenet_captions.errors import InputError
from imagenet_captions.images.pixels import resize_for
from imagenet_captions.models.build import build, build_model
from imagenet_captions.models.config import PRESETS, ProjectorConfig, TokenizerConfig, config_from_dict, config_of
from imagenet_captions.models.hardware import checkpoint_blocks, cpu_threads, gpu_settings
from imagenet_captions.models.model import Model
from imagenet_captions.models.tokenizing import build_tokenizer
from tests.models.conftest import pixels

TEXTS = ["a photo of a dog", "!"]
# The numbers of their weights.
MICRO = {"micro": 781457, "vit-micro": 1196545, "align-micro": 591671, "basic-micro": 1022933}
every_micro_model = pytest.mark.parametrize("name", MICRO)


def state(module: nn.Module | None) -> dict[str, torch.Tensor]:
    assert module is not None
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@every_micro_model
def test_the_face(name: str) -> None:
    model = build_model(name, 0)
    tokens = model.tokenize(TEXTS)
    images, texts = model.embed_images(pixels()), model.embed_texts(tokens)
    assert sum(value.numel() for value in model.parameters()) == MICRO[name]
    assert (model.name, model.spec.size, tokens.dtype) == (name, 32, torch.int64)
    assert (images.shape, texts.shape) == ((4, model.config.dim), (2, model.config.dim))
    assert model.image_features(pixels()).shape == (4, model.width)
    torch.testing.assert_close(torch.cat([images, texts]).norm(dim=1), torch.ones(6))
    assert model.logit_scale is not None
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)
    assert (model.has_text, model.has_head, model.head_classes) == (True, False, None)
    # DDP stops at a weight that a step does not use.
    (images @ texts.T * model.logit_scale.exp()).sum().backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []
    model = build_model(name, 0)
    model.drop_text()
    model.set_head(["dog", "cat", "fish"], seed=3)
    model.class_logits(pixels()).square().sum().backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []


@every_micro_model
def test_the_seed_alone_makes_the_weights(name: str) -> None:
    torch.manual_seed(1)
    first = state(build_model(name, 5))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert same(first, state(build_model(name, 5)))
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(first, state(build_model(name, 6)))


@every_micro_model
def test_padding_does_not_change_a_text(name: str) -> None:
    """What stands after a text's end is not read: "!" is token 0, which is also what fills up."""
    model = build_model(name, 0).eval()
    tokens = model.tokenize(["hello", "hello!"])
    longer = tokens.clone()
    longer[0, 3:] = tokens[1, 2]
    with torch.no_grad():
        torch.testing.assert_close(model.embed_texts(longer)[0], model.embed_texts(tokens)[0])
        assert not torch.allclose(model.embed_texts(tokens)[0], model.embed_texts(tokens)[1])


def test_a_head_is_made_by_its_seed_for_classes_that_differ() -> None:
    model, heads = build_model("micro", 0), []
    for seed in (1, 1, 2):
        model.set_head(["dog", "cat"], seed=seed)
        heads.append(state(model.head))
    assert same(heads[0], heads[1])
    assert not same(heads[0], heads[2])


def test_the_projector_is_simclrs_alone() -> None:
    model = build_model("micro", 0)
    with pytest.raises(InputError, match="has no projector"):
        model.embed_views(pixels())
    model.set_projector(ProjectorConfig(hidden=48, dim=16), seed=1)
    before = model.eval().image_features(pixels())
    views = model.embed_views(pixels())
    assert views.shape == (4, 16)
    torch.testing.assert_close(views.norm(dim=1), torch.ones(4))
    model.drop_projector()
    assert torch.equal(model.image_features(pixels()), before)
    assert model.config.to_dict()["projector"] is None


@pytest.mark.parametrize("locked", ["image", "text", None])
@every_micro_model
def test_a_locked_tower_stays_as_it_is(name: str, locked: str | None) -> None:
    """Weights and batch statistics, in training too; the rest goes on."""
    model = build_model(name, 0)
    if locked is not None:
        model.lock(locked)
    before = {tower: state(getattr(model, tower)) for tower in ("image", "text")}
    model.train()
    optimizer = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    assert model.logit_scale is not None
    logits = model.embed_images(pixels()) @ model.embed_texts(model.tokenize(TEXTS * 2)).T * model.logit_scale.exp()
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    optimizer.step()
    for tower, kept in before.items():
        assert same(kept, state(getattr(model, tower))) == (tower == locked)
        assert any(module.training for module in getattr(model, tower).modules()) != (tower == locked)


def test_every_preset_survives_a_file_and_stands_on_the_page_with_its_sizes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "design" / "presets.md").read_text(encoding="utf-8")
    for name in PRESETS:
        config = config_of(name)
        assert config.name == name
        assert config_from_dict(config.to_dict()).to_dict() == config.to_dict()
        with torch.device("meta"):
            model = build(config)
        millions = [
            sum(part.numel() for part in tower.parameters()) / 1e6 for tower in (model.image, model.text) if tower
        ]
        sizes = [f"{each:.1f} M" for each in millions]
        texts = [f"{config.dim:,}", str(config.tokenizer.context_length)] if config.tokenizer else ["", ""]
        cells = ["", str(model.spec.size), f"{model.width:,}", *texts, *sizes]
        (line,) = re.findall(rf"^\| `{name}` .*$", page, re.MULTILINE)
        assert f"{' | '.join(cells)} |" in line


def test_aligns_pixels_and_batch_statistics() -> None:
    spec = config_of("align").spec
    assert resize_for(spec, torch.zeros(3, 400, 700, dtype=torch.uint8)).shape == (3, 346, 346)
    assert (spec.size, spec.interpolation, spec.mean) == (289, "bilinear", (0.5, 0.5, 0.5))
    with torch.device("meta"):
        model = build(config_of("align"))
    momenta = {module.momentum for module in model.image.modules() if isinstance(module, nn.BatchNorm2d)}
    assert max(momenta) <= 0.1  # transformers has some at torch's own 0.1, and gives 0.99 to the others


def tokens_of(text: str, **options: Any) -> list[int]:
    tokens = build_tokenizer(TokenizerConfig(context_length=77, options=options))([text])[0]
    return [number for number in tokens.tolist() if number]


def test_a_small_vocabulary_writes_any_text_with_the_tokens_of_common_words() -> None:
    for text in ("a photo of a cat", "Zwölf 猫 🐟 & co", "supercalifragilistic"):
        start, *words, end = tokens_of(text, merges=3582)
        assert (start, end) == (4094, 4095), "the last two of 4,096 tokens"
        assert words
        assert all(number < start for number in words)
    assert tokens_of("", merges=3582) == [4094, 4095]
    assert tokens_of("a photo of a cat", merges=3582)[1:-1] == tokens_of("a photo of a cat")[1:-1]
    assert len(tokens_of("rhododendron", merges=3582)) > len(tokens_of("rhododendron"))


def a_step(model: Model) -> tuple[list[torch.Tensor], int]:
    """The gradients of a step, and how many bytes its forward pass kept for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    model.train()
    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        images, texts = model.embed_images(pixels(4)), model.embed_texts(model.tokenize(TEXTS * 2))
        loss = (images @ texts.T).diagonal().sum()
    bytes_kept = sum(kept.values())
    loss.backward()
    return [each.grad for each in model.parameters() if each.grad is not None], bytes_kept


@pytest.mark.parametrize("name", ["basic-micro", "vit-micro", "align-micro"])
def test_gradient_checkpointing_keeps_less_and_changes_nothing(name: str) -> None:
    model = build_model(name, 0)
    again = copy.deepcopy(model)
    assert checkpoint_blocks(again) > 2
    (gradients, kept), (same_gradients, less) = a_step(model), a_step(again)
    assert less < 0.8 * kept
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(gradients, same_gradients, strict=True))
    torch.testing.assert_close(
        *({key: value for key, value in state(each).items() if "num_batches" not in key} for each in (model, again)),
        atol=1e-6,
        rtol=1e-5,
    )


def test_a_gpu_gets_channels_last_and_tf32_and_a_cpu_neither() -> None:
    model = nn.Conv2d(3, 4, 3)
    before = torch.get_float32_matmul_precision()
    for device, precision, last in (("cpu", before, False), ("cuda", "high", True)):
        with gpu_settings(torch.device(device), model):
            assert torch.get_float32_matmul_precision() == precision
            assert model.weight.is_contiguous(memory_format=torch.channels_last) == last
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize(
    ("size", "asked", "variable", "expected"),
    [(32, None, None, 1), (32, 2, None, 2), (32, None, "3", 3), (224, None, None, 3), (224, 2, None, 2)],
)
def test_small_models_compute_with_one_thread_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, size: int, asked: int | None, variable: str | None, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    torch.set_num_threads(3)  # the fixture of all these tests puts back what was there
    with cpu_threads(size, asked):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 3, "what a program has set is put back"
