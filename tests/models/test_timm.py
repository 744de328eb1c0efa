from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.classes import wnids
from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import load_model, save_model
from tests.models.conftest import Evil, assert_same_when_saved, change_json, pixels, refusal

# One of each kind of head: linear on the pooled map, on a token, on a normed map, after a layer of its own.
ARCHITECTURES = ["resnet18", "vit_tiny_patch16_224", "test_convnext", "mobilenetv3_small_050"]


def saved(folder: Path, name: str = "resnet18", **arguments: Any) -> tuple[Any, str]:
    """A model of timm's, and the source that reads its weights."""
    torch.manual_seed(2)
    model = timm.create_model(name, pretrained=False, **arguments).eval()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return model, f"timm:{name}@{folder / 'pytorch_model.bin'}"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_file_gives_what_timm_gives(tmp_path: Path, name: str) -> None:
    theirs, source = saved(tmp_path, name)
    model = load_model(source)
    images = pixels(2, model.spec.size)
    with torch.no_grad():
        torch.testing.assert_close(model.class_logits(images), theirs(images))
        features = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(model.image_features(images), features)
    assert model.image_features(images).shape == (2, model.width)
    assert model.head_classes == wnids()
    assert_same_when_saved(model, tmp_path / "ours")
    with pytest.raises(InputError, match="has no text tower; use a classifier that needs none"):
        model.embed_images(images)


def test_torchvisions_resnet50_is_timms(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = torchvision.models.resnet50().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    model = load_model(f"timm:resnet50@{tmp_path / 'resnet50.pth'}")
    with torch.no_grad():
        torch.testing.assert_close(model.class_logits(pixels(1, 64)), theirs(pixels(1, 64)))
    assert build_model("resnet50", 0).image.state_dict().keys() == model.image.state_dict().keys()


def test_folder_brings_pixels_and_names(tmp_path: Path) -> None:
    theirs, _ = saved(tmp_path, num_classes=3)
    pretrained = {"input_size": [3, 96, 96], "mean": [0.1] * 3, "std": [0.2] * 3, "interpolation": "bilinear"}
    config = {
        "architecture": "resnet18",
        "num_classes": 3,
        "label_names": ["dog", "cat", "fish"],
        "pretrained_cfg": {**pretrained, "crop_pct": 0.75, "crop_mode": "center"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = load_model(f"timm:local-dir:{tmp_path}")
    assert (model.spec.size, model.spec.crop_fraction, model.spec.mean) == (96, 0.75, (0.1, 0.1, 0.1))
    assert model.head_classes == ("dog", "cat", "fish")
    with torch.no_grad():
        torch.testing.assert_close(model.class_logits(pixels()), theirs(pixels()))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"checkpoint_path": "evil.pkl"}, "passes 'checkpoint_path' to timm"),
        ({"pretrained_cfg": {"file": "evil.pkl"}}, "passes 'pretrained_cfg' to timm"),
        ({"block_args": {}}, "passes 'block_args' to timm"),
        ({"act_layer": "nothing"}, "cannot be loaded"),
    ],
)
def test_a_description_only_says_how_a_model_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, said: str
) -> None:
    """timm reads files and addresses that other arguments name, some of them as a pickle."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, num_classes=3)
    with Path("evil.pkl").open("wb") as opened:
        pickle.dump(Evil(), opened)
    source = {"file": "evil.pkl", "url": "http://127.0.0.1/x", "custom_load": True, "surprise": 1}
    config = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": source, "model_args": arguments}
    Path("config.json").write_text(json.dumps(config))
    save_model(build_model("timm:resnet18", 0), tmp_path / "ours")
    change_json(Path("ours/model.json"), "image", "options", "arguments", to=arguments)
    for folder in (tmp_path, tmp_path / "ours"):
        assert said in refusal(str(folder))
    for name in ("local-dir:elsewhere", "hf-hub:org/name"):
        Path("config.json").write_text(json.dumps({**config, "architecture": name}))
        assert "no timm model is called" in refusal(str(tmp_path))
    Path("config.json").write_text(json.dumps({**config, "model_args": {"drop_rate": 0.1, "global_pool": "max"}}))
    assert load_model(str(tmp_path)).has_head
    assert not Path("ran").exists()


def test_weights_that_are_not_there_or_do_not_fit(tmp_path: Path) -> None:
    assert "weights nowhere.pth does not exist" in refusal("timm:resnet18@nowhere.pth")
    _, source = saved(tmp_path)
    assert "do not fit the model (Error(s) in loading" in refusal(source.replace("resnet18", "vit_tiny_patch16_224"))


@pytest.mark.parametrize(
    ("name", "classes"),
    [("resnet18", 0), ("deit_tiny_distilled_patch16_224", 5)],  # the second has two heads on two tokens
)
def test_features_without_a_head_or_with_one_that_is_not_one_layer(tmp_path: Path, name: str, classes: int) -> None:
    theirs, source = saved(tmp_path, name, num_classes=classes)
    model = load_model(source)
    assert not model.has_head
    images = pixels(1, 224)
    with torch.no_grad():
        features = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(model.image_features(images), features)
    with pytest.raises(InputError, match="has no head of classes; train one"):
        model.class_logits(images)
