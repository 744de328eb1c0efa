from __future__ import annotations

import pytest
import torch
from torch import nn

from imagenet_captions.errors import InputError
from imagenet_captions.models.build import build, build_model
from imagenet_captions.models.config import ProjectorConfig, config_from_dict
from imagenet_captions.models.load import take_image_tower
from imagenet_captions.models.model import Model
from tests.models.conftest import pixels

TEXTS = ["a photo of a dog", "!"]
MICRO = ["micro", "vit-micro", "align-micro", "basic-micro"]


def parameters(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", MICRO)
def test_the_face(name: str) -> None:
    model = build_model(name, 0)
    tokens = model.tokenize(TEXTS)
    images, texts = model.embed_images(pixels()), model.embed_texts(tokens)
    assert (model.name, model.spec.size, tokens.dtype) == (name, 32, torch.int64)
    assert images.shape == (4, model.config.dim)
    assert texts.shape == (2, model.config.dim)
    assert model.image_features(pixels()).shape == (4, model.width)
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(images.norm(dim=1), torch.ones(4))
    assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07)  # type: ignore[union-attr]
    assert (model.has_text, model.has_head, model.head_classes) == (True, False, None)


@pytest.mark.parametrize("name", MICRO)
def test_the_seed_alone_makes_the_weights(name: str) -> None:
    torch.manual_seed(1)
    first = parameters(build_model(name, 5))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert same(first, parameters(build_model(name, 5)))
    assert torch.equal(torch.get_rng_state(), state)
    assert not same(first, parameters(build_model(name, 6)))


@pytest.mark.parametrize("name", MICRO)
def test_padding_does_not_change_a_text(name: str) -> None:
    """What stands after a text's end is not read: "!" is token 0, which is also what fills up."""
    model = build_model(name, 0).eval()
    tokens = model.tokenize(["hello", "hello!"])
    longer = tokens.clone()
    longer[0, 3:] = tokens[1, 2]
    with torch.no_grad():
        torch.testing.assert_close(model.embed_texts(longer)[0], model.embed_texts(tokens)[0])
        assert not torch.allclose(model.embed_texts(tokens)[0], model.embed_texts(tokens)[1])


@pytest.mark.parametrize("name", MICRO)
def test_no_weight_is_left_without_a_gradient(name: str) -> None:
    """DDP stops at a weight that a step does not use."""
    model = build_model(name, 0)
    scale = model.logit_scale
    assert scale is not None
    (model.embed_images(pixels()) @ model.embed_texts(model.tokenize(TEXTS)).T * scale.exp()).sum().backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", MICRO)
def test_supervised_uses_every_weight_without_the_text_tower(name: str) -> None:
    model = build_model(name, 0)
    model.drop_text()
    model.set_head(["dog", "cat", "fish"], seed=3)
    logits = model.class_logits(pixels())
    logits.square().sum().backward()
    assert logits.shape == (4, 3)
    assert model.head_classes == ("dog", "cat", "fish")
    assert [key for key, value in model.named_parameters() if value.grad is None] == []
    assert model.config.to_dict()["text"] is None


def test_a_head_is_made_by_its_seed() -> None:
    heads = []
    for seed in (1, 1, 2):
        model = build_model("micro", 0)
        model.set_head(["dog", "cat"], seed=seed)
        heads.append(parameters(model.head))  # type: ignore[arg-type]
    assert same(heads[0], heads[1])
    assert not same(heads[0], heads[2])


@pytest.mark.parametrize("classes", [[], ["dog", "dog"]])
def test_a_head_without_or_with_equal_classes_is_refused(classes: list[str]) -> None:
    with pytest.raises(InputError, match="a head needs classes, each once"):
        build_model("micro", 0).set_head(classes)


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


def _step(model: Model) -> None:
    model.train()
    optimiser = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    scale = model.logit_scale
    assert scale is not None
    logits = model.embed_images(pixels()) @ model.embed_texts(model.tokenize(TEXTS * 2)).T * scale.exp()
    torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    optimiser.step()


@pytest.mark.parametrize("name", MICRO)
def test_a_locked_image_tower_stays_as_it_is(name: str) -> None:
    """Weights and batch statistics, in training too; the rest goes on."""
    model = build_model(name, 0)
    model.lock("image")
    image, text = {key: value.clone() for key, value in model.image.state_dict().items()}, parameters(model.text)  # type: ignore[arg-type]
    _step(model)
    assert all(torch.equal(value, image[key]) for key, value in model.image.state_dict().items())
    assert not any(module.training for module in model.image.modules())
    assert not same(text, parameters(model.text))  # type: ignore[arg-type]
    assert all(not value.requires_grad for value in model.image.parameters())


def test_an_unlocked_image_tower_does_not() -> None:
    model = build_model("micro", 0)
    before = model.image.state_dict()["stem.2.running_mean"].clone()
    _step(model)
    assert not torch.equal(model.image.state_dict()["stem.2.running_mean"], before)


@pytest.mark.parametrize("name", MICRO)
def test_a_locked_text_tower_stays_as_it_is(name: str) -> None:
    model = build_model(name, 0)
    model.lock("text")
    image, text = parameters(model.image), parameters(model.text)  # type: ignore[arg-type]
    _step(model)
    assert same(text, parameters(model.text))  # type: ignore[arg-type]
    assert not same(image, parameters(model.image))


def test_an_image_tower_goes_into_another_model() -> None:
    """A supervised tower into a new model with texts; what is not the tower stays the new model's."""
    supervised = build_model("basic-micro", 1)
    supervised.drop_text()
    supervised.set_head(["dog", "cat"])
    model = build_model("basic-micro", 2)
    projection, text = parameters(model.image_projection), parameters(model.text)  # type: ignore[arg-type]
    take_image_tower(model, supervised)
    assert same(parameters(model.image), parameters(supervised.image))
    assert same(text, parameters(model.text))  # type: ignore[arg-type]
    assert same(projection, parameters(model.image_projection))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the weights of micro's image tower do not fit the model"):
        take_image_tower(model, build_model("micro", 0))


def test_a_description_builds_the_same_model() -> None:
    model = build_model("align-micro", 0)
    model.set_head(["dog", "cat"])
    again = build(config_from_dict(model.config.to_dict()))
    assert again.config == build(config_from_dict(again.config.to_dict())).config
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in model.state_dict().items()
    }
    assert again.head_classes == ("dog", "cat")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 9}, "has format '9' where this version reads 1"),
        ({"image": {"kind": "eva", "options": {}}}, "names the tower 'eva'; known are"),
        ({"surprise": 1}, "the model's description is not whole"),
        ({"spec": {"size": 0, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "image size must be 1 pixel or more, not 0"),
        ({"tokenizer": None}, "a text tower needs a tokenizer"),
    ],
)
def test_a_wrong_description_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        build(config_from_dict({**build_model("micro", 0).config.to_dict(), **change}))
    assert said in str(caught.value)


def test_unknown_presets_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no model to build is called 'ViT-B32'; did you mean ViT-B-32"):
        build_model("ViT-B32", 0)
