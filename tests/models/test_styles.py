"""ALIGN-style and BASIC-style at a size for a CPU: twenty steps, saved, reloaded, the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import load_model, save_model, take_image_tower
from imagenet_captions.models.model import Model
from tests.models.conftest import pixels

TEXTS = ["a dog", "a cat", "two fish", "a red car", "the sea", "a tall tree", "bread", "an old house"]


def twenty_steps(model: Model, supervised: bool) -> list[float]:
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = pixels(8), torch.arange(8)
    tokens = None if supervised else model.tokenize(TEXTS)
    losses = []
    model.train()
    for _ in range(20):
        if tokens is None:
            loss = F.cross_entropy(model.class_logits(images), labels)
        else:
            assert model.logit_scale is not None
            logits = model.logit_scale.exp() * model.embed_images(images) @ model.embed_texts(tokens).T
            loss = (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def assert_same_after_saving(model: Model, folder: Path) -> None:
    save_model(model.eval(), folder)
    again = load_model(str(folder))
    with torch.no_grad():
        assert torch.equal(again.image_features(pixels()), model.image_features(pixels()))
        if model.has_text:
            tokens = again.tokenize(TEXTS)
            assert torch.equal(again.embed_images(pixels()), model.embed_images(pixels()))
            assert torch.equal(again.embed_texts(tokens), model.embed_texts(tokens))


@pytest.mark.parametrize("name", ["align-micro", "basic-micro", "micro", "vit-micro"])
def test_twenty_contrastive_steps(tmp_path: Path, name: str) -> None:
    model = build_model(name, 0)
    losses = twenty_steps(model, supervised=False)
    assert losses[-1] < 0.7 * losses[0]
    assert_same_after_saving(model, tmp_path)


def test_basics_image_tower_is_trained_with_a_head_first(tmp_path: Path) -> None:
    """BASIC's order: supervised with a head, saved; its tower beside a new text tower; contrastive."""
    supervised = build_model("basic-micro", 0)
    supervised.drop_text()
    supervised.set_head([str(label) for label in range(8)])
    losses = twenty_steps(supervised, supervised=True)
    assert losses[-1] < 0.7 * losses[0]
    assert_same_after_saving(supervised, tmp_path / "supervised")

    model = build_model("basic-micro", 1)
    take_image_tower(model, load_model(str(tmp_path / "supervised")))
    with torch.no_grad():
        before = model.eval().image_features(pixels())
        assert torch.equal(before, supervised.image_features(pixels()))
    model.lock("image")
    losses = twenty_steps(model, supervised=False)
    assert losses[-1] < 0.7 * losses[0]
    with torch.no_grad():
        assert torch.equal(model.eval().image_features(pixels()), before)
    assert_same_after_saving(model, tmp_path / "contrastive")
