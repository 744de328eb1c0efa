from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.classes import wnids
from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import load_model, save_model
from tests.models.conftest import assert_same_when_saved, pixels

# One of each kind of head: linear on the pooled map, on a token, on a normed map, after a layer of its own.
ARCHITECTURES = ["resnet18", "vit_tiny_patch16_224", "test_convnext", "mobilenetv3_small_050", "test_efficientnet"]


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def saved(folder: Path, name: str, **arguments: Any) -> Any:
    torch.manual_seed(2)
    model = timm.create_model(name, pretrained=False, **arguments).eval()
    torch.save(model.state_dict(), folder / "weights.pth")
    return model


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_file_gives_what_timm_gives(tmp_path: Path, name: str) -> None:
    theirs = saved(tmp_path, name)
    model = load_model(f"timm:{name}@{tmp_path / 'weights.pth'}")
    images = pixels(2, model.spec.size)
    with torch.no_grad():
        torch.testing.assert_close(model.class_logits(images), theirs(images))
        features = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(model.image_features(images), features)
    assert model.image_features(images).shape == (2, model.width)
    assert_same_when_saved(model, tmp_path / "ours")


def test_a_thousand_classes_are_imagenets_by_wnid(tmp_path: Path) -> None:
    saved(tmp_path, "resnet18")
    model = load_model(f"timm:resnet18@{tmp_path / 'weights.pth'}")
    assert model.head_classes == wnids()
    assert not model.has_text
    with pytest.raises(InputError, match="has no text tower; use a classifier that needs none"):
        model.embed_images(pixels())


def test_torchvisions_resnet50_is_timms(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(1)
    theirs = torchvision.models.resnet50().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet50.pth")
    model = load_model(f"timm:resnet50@{tmp_path / 'resnet50.pth'}")
    with torch.no_grad():
        torch.testing.assert_close(model.class_logits(pixels(1, 64)), theirs(pixels(1, 64)))
    assert build_model("resnet50", 0).image.state_dict().keys() == model.image.state_dict().keys()


def test_folder_brings_pixels_and_names(tmp_path: Path) -> None:
    theirs = saved(tmp_path, "resnet18", num_classes=3)
    (tmp_path / "weights.pth").rename(tmp_path / "pytorch_model.bin")
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
        ({"pretrained": True}, "passes 'pretrained' to timm"),
        ({"pretrained_cfg": {"file": "evil.pkl"}}, "passes 'pretrained_cfg' to timm"),
        ({"pretrained_cfg_overlay": {"url": "http://127.0.0.1"}}, "passes 'pretrained_cfg_overlay' to timm"),
        ({"cache_dir": "cache", "features_only": True}, "passes 'cache_dir' to timm"),
        ({"block_args": {}}, "passes 'block_args' to timm"),
        ({"act_layer": "nothing"}, "cannot be loaded"),
        ({"depths": [2, 2]}, "cannot be loaded"),
        ({"drop_rate": "much"}, "says drop_rate 'much', which is not a number"),
    ],
)
def test_a_description_only_says_how_a_model_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, said: str
) -> None:
    """timm reads files and addresses that other arguments name, some of them as a pickle."""
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "resnet18", num_classes=3)
    with Path("evil.pkl").open("wb") as opened:
        pickle.dump(Evil(), opened)
    source = {"file": "evil.pkl", "url": "http://127.0.0.1/x", "custom_load": True, "surprise": 1}
    config = {"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": source, "model_args": arguments}
    Path("config.json").write_text(json.dumps(config))
    model = build_model("timm:resnet18", 0)
    save_model(model, tmp_path / "ours")
    about = json.loads(Path("ours/model.json").read_text())
    about["image"]["options"]["arguments"] = arguments
    Path("ours/model.json").write_text(json.dumps(about))
    for folder in (tmp_path, tmp_path / "ours"):
        with pytest.raises(InputError) as caught:
            load_model(str(folder))
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    Path("config.json").write_text(json.dumps({**config, "model_args": {"drop_rate": 0.1, "global_pool": "max"}}))
    assert load_model(str(tmp_path)).has_head
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["local-dir:elsewhere", "hf-hub:org/name", "resnet5"])
def test_an_architecture_is_one_of_timms_own(tmp_path: Path, name: str) -> None:
    saved(tmp_path, "resnet18")
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    with pytest.raises(InputError, match="no timm model is called"):
        load_model(str(tmp_path))


def test_features_without_a_classifier(tmp_path: Path) -> None:
    saved(tmp_path, "resnet18", num_classes=0)
    model = load_model(f"timm:resnet18@{tmp_path / 'weights.pth'}")
    assert not model.has_head
    with pytest.raises(InputError, match="has no head of classes; train one"):
        model.class_logits(pixels())


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("timm:resnet5", "no timm model is called 'resnet5'; did you mean resnet50"),
        ("timm:resnet18@nowhere.pth", "weights nowhere.pth does not exist"),
    ],
)
def test_wrong_names(source: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(source)
    assert said in str(caught.value)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    saved(tmp_path, "resnet18")
    with pytest.raises(InputError, match=r"do not fit the model: \d+ missing \(.*\); \d+ unknown"):
        load_model(f"timm:vit_tiny_patch16_224@{tmp_path / 'weights.pth'}")


def test_any_timm_model_can_be_trained_from_scratch() -> None:
    model = build_model("timm:resnet10t", 0)
    model.set_head(["dog", "cat"])
    assert (model.name, model.class_logits(pixels()).shape) == ("timm:resnet10t", (4, 2))
    with pytest.raises(InputError, match="did you mean resnet10t"):
        build_model("timm:resnet10", 0)


def test_a_head_that_is_not_one_layer_is_left_out(tmp_path: Path) -> None:
    """A distilled model has two heads on two tokens; its features are read all the same."""
    theirs = saved(tmp_path, "deit_tiny_distilled_patch16_224", num_classes=5)
    model = load_model(f"timm:deit_tiny_distilled_patch16_224@{tmp_path / 'weights.pth'}")
    assert not model.has_head
    images = pixels(1, 224)
    with torch.no_grad():
        features = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(model.image_features(images), features)
