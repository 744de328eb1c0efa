from __future__ import annotations

import json
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from imagenet_captions.errors import DiskFullError, InputError
from imagenet_captions.models.build import build_model
from imagenet_captions.models.config import ProjectorConfig
from imagenet_captions.models.load import MODEL_FILE, WEIGHTS_FILE, load_model, save_model
from imagenet_captions.models.model import Model
from tests.models.conftest import TINY_VIT, Overwrites, align_folder, assert_same_when_saved, open_clip_folder, pixels


def model_with_everything() -> Model:
    model = build_model("micro", 3)
    model.set_head(["dog", "cat"])
    model.set_projector(ProjectorConfig(hidden=16, dim=8))
    model.image_features(pixels())  # batch statistics are part of what is kept
    return model.eval()


def test_a_run_folder_and_its_model_folder_give_the_model_without_its_projector(tmp_path: Path) -> None:
    model = model_with_everything()
    assert_same_when_saved(model, tmp_path / "run" / "model")
    for source in (tmp_path / "run", tmp_path / "run" / "model"):
        again = load_model(str(source))
        assert (again.name, again.spec, again.head_classes) == (model.name, model.spec, ("dog", "cat"))
        assert not again.training
        assert again.projector is None
    model.drop_text()
    assert_same_when_saved(model, tmp_path / "images alone")


def checkpoint(model: Model, **changes: Any) -> dict[str, Any]:
    """As Lightning writes one: the module's weights under `model.`, and hyperparameters."""
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    return {
        "epoch": 1,
        "global_step": 20,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": state,
        "hyper_parameters": {"model_config": model.config.to_dict()},
        **changes,
    }


def test_a_lightning_checkpoint_gives_the_model(tmp_path: Path) -> None:
    model = model_with_everything()
    torch.save(checkpoint(model), tmp_path / "last.ckpt")
    again = load_model(str(tmp_path / "last.ckpt"))
    assert again.projector is None
    with torch.no_grad():
        assert torch.equal(again.embed_images(pixels()), model.embed_images(pixels()))


def test_a_folder_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is written over an older one, and a disk that is full in the middle: no mixture of the two."""
    save_model(build_model("micro", 1), tmp_path)

    def full(_: object, path: Path, __: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imagenet_captions.models.weights.save_file", full)
    with pytest.raises(DiskFullError, match="no space is left on the disk"):
        save_model(build_model("vit-micro", 2), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [WEIGHTS_FILE]
    with pytest.raises(InputError, match="holds no model"):
        load_model(str(tmp_path))


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("source", ["evil.ckpt", "timm:resnet18@evil.ckpt", "open_clip:RN50@evil.ckpt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_of_a_checkpoint_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, zipped: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if zipped:
        torch.save({"state_dict": {}, "evil": Evil()}, "evil.ckpt")
    else:
        Path("evil.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="come with code, which is never run"):
        load_model(source)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("source", "weights"),
    [
        ("open_clip:ViT-B-32@evil.pt", "evil.pt"),
        ("timm:resnet18@evil.pt", "evil.pt"),
        ("evil.ckpt", "evil.ckpt"),
        ("open_clip", "open_clip/open_clip_pytorch_model.bin"),
        ("timm", "timm/pytorch_model.bin"),
        ("transformers", "transformers/pytorch_model.bin"),
    ],
)
def test_no_code_of_torchscript_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, weights: str
) -> None:
    monkeypatch.chdir(tmp_path)
    open_clip_folder(Path("open_clip"), TINY_VIT)
    align_folder(Path("transformers"))
    Path("transformers/model.safetensors").unlink()
    Path("timm").mkdir()
    Path("timm/config.json").write_text('{"architecture": "resnet18"}')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(Overwrites()), weights)
        torch.jit.load(weights)
    assert Path("ran").stat().st_size == 16
    Path("ran").unlink()
    with pytest.raises(InputError, match=r"a TorchScript archive, whose code is never run; docs/reference/models\.md"):
        load_model(source)
    assert not Path("ran").exists()


def _break_weights(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1000])


def _other_weights(folder: Path) -> None:
    config = (folder / MODEL_FILE).read_text()
    save_model(build_model("vit-micro", 0), folder)
    (folder / MODEL_FILE).write_text(config)


def _wider(folder: Path) -> None:
    values = json.loads((folder / MODEL_FILE).read_text())
    values["image"]["options"]["widths"][-1] += 8
    (folder / MODEL_FILE).write_text(json.dumps(values))


def _set(*keys_and_value: Any) -> Any:
    *path, last, value = keys_and_value

    def spoil(folder: Path) -> None:
        values = inner = json.loads((folder / MODEL_FILE).read_text())
        for key in path:
            inner = inner[key]
        inner[last] = value
        (folder / MODEL_FILE).write_text(json.dumps(values))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "does not exist; check the path"),
        (_break_weights, "has no readable weights"),
        (_other_weights, "do not fit the model"),
        (_wider, r"of another shape (image."),
        (lambda folder: (folder / MODEL_FILE).write_text("{"), "has not the expected content"),
        (lambda folder: (folder / MODEL_FILE).write_text("[1]"), "has not the expected content"),
        (lambda folder: (folder / MODEL_FILE).write_text("[" * 5000), "has not the expected content"),
        (_set("spec", "text"), "Expected 'object', got 'str' - at '$.spec'"),
        (_set("spec", "size", 1.5), "Expected 'int', got 'float' - at '$.spec.size'"),
        (_set("image", None), "Expected 'object', got 'null' - at '$.image'"),
        (_set("image", "options", {}), "cannot be loaded (KeyError: 'widths')"),
        (_set("image", "options", "widths", ["many"]), "cannot be loaded"),
        (_set("tokenizer", "options", {"bpe_path": "/etc/passwd"}), "has the option 'bpe_path'"),
        (_set("tokenizer", "options", "clean", [1]), "cannot be loaded"),
        (_set("head_classes", [1]), "Expected 'str', got 'int' - at '$.head_classes[0]'"),
        (_set("surprise", 1), "a setting is missing or unknown"),
        (lambda folder: (folder / MODEL_FILE).write_text('{"format": 1}'), "is not whole"),
        (lambda folder: (folder / MODEL_FILE).unlink(), "holds no model"),
    ],
)
def test_a_spoiled_folder_is_one_sentence(tmp_path: Path, spoil: Any, said: str) -> None:
    save_model(build_model("micro", 0), tmp_path)
    spoil(tmp_path)
    with pytest.raises(InputError) as caught:
        load_model(str(tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "model 'nowhere' does not exist; give a folder"),
        ("micro", "'micro' is a model without weights; give a run's folder"),
        ("runs/missing/checkpoints/last.ckpt", "does not exist"),
        ("x" * 5000, "does not exist"),
    ],
)
def test_what_is_not_there_is_one_sentence(source: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_model(source)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_checkpoint_of_something_else(tmp_path: Path) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(InputError, match=r"is not a checkpoint of this package's training; name its library"):
        load_model(str(tmp_path / "other.ckpt"))


def test_a_run_that_is_not_done_names_its_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    with pytest.raises(InputError, match=r"is not done; finish it, or give its last checkpoint .*last\.ckpt"):
        load_model(str(tmp_path))
