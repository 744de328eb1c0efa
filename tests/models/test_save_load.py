from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from imagenet_captions.errors import DiskFullError
from imagenet_captions.models.build import build_model
from imagenet_captions.models.config import ProjectorConfig
from imagenet_captions.models.load import MODEL_FILE, WEIGHTS_FILE, load_model, save_model
from imagenet_captions.models.model import Model
from tests.models import conftest
from tests.models.conftest import TINY_VIT, align_folder, open_clip_folder, pixels, refusal


def model_with_everything() -> Model:
    model = build_model("micro", 3)
    model.set_head(["dog", "cat"])
    model.set_projector(ProjectorConfig(hidden=16, dim=8))
    model.image_features(pixels())  # batch statistics are part of what is kept
    return model.eval()


def test_a_run_folder_and_its_model_folder_give_the_model_without_its_projector(tmp_path: Path) -> None:
    model = model_with_everything()
    conftest.assert_same_when_saved(model, tmp_path / "run" / "model")
    for source in (tmp_path / "run", tmp_path / "run" / "model"):
        again = load_model(str(source))
        assert (again.name, again.spec, again.head_classes) == (model.name, model.spec, ("dog", "cat"))
        assert not again.training
        assert again.projector is None
    model.drop_text()
    conftest.assert_same_when_saved(model, tmp_path / "images alone")


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
    assert "holds no model" in refusal(str(tmp_path))


@pytest.mark.parametrize("source", ["evil.ckpt", "timm:resnet18@evil.ckpt", "open_clip:RN50@evil.ckpt"])
def test_no_code_of_a_checkpoint_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.chdir(tmp_path)
    zipped = source.startswith("timm")
    torch.save({"state_dict": {}, "evil": conftest.Evil()}, "evil.ckpt", _use_new_zipfile_serialization=zipped)
    assert "come with code, which is never run" in refusal(source)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("source", "weights"),
    [
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
        torch.jit.save(torch.jit.script(conftest.Overwrites()), weights)
        torch.jit.load(weights)
    assert Path("ran").stat().st_size == 16
    Path("ran").unlink()
    assert "a TorchScript archive, whose code is never run; docs/reference/models.md" in refusal(source)
    assert not Path("ran").exists()


def _cut_weights(folder: Path) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-1000])


def _set(*keys: Any, to: Any) -> Any:
    return lambda folder: conftest.change_json(folder / MODEL_FILE, *keys, to=to)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "does not exist; check the path"),
        (_cut_weights, "cannot be loaded"),
        (_set("image", "options", "widths", -1, to=72), "do not fit the model (Error(s) in loading"),
        (lambda folder: (folder / MODEL_FILE).write_text("["), "has not the expected content"),
        (_set("spec", "size", to=0), "image size must be 1 pixel or more, not 0"),
        (_set("image", "options", to={}), "cannot be loaded (KeyError: 'widths')"),
        (_set("image", "kind", to="eva"), "names the tower 'eva', which is not known"),
        (_set("tokenizer", "options", to={"bpe_path": "/etc/passwd"}), "has the option 'bpe_path'"),
        (_set("surprise", to=1), "a setting is missing or unknown"),
        (_set("format", to=9), "has format '9' where this version reads 1"),
    ],
)
def test_a_spoiled_folder_is_one_sentence(tmp_path: Path, spoil: Any, said: str) -> None:
    save_model(build_model("micro", 0), tmp_path)
    spoil(tmp_path)
    assert said in refusal(str(tmp_path))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "model 'nowhere' does not exist; give a folder"),
        ("micro", "'micro' is a model without weights; give a run's folder"),
        ("other.ckpt", "is not a checkpoint of this package's training; name its library"),
        ("bert", "of type 'bert'; of transformers, align and clip are read"),
        ("run", "is not done; finish it, or give its last checkpoint run/checkpoints/last.ckpt"),
    ],
)
def test_what_is_no_model_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, "other.ckpt")
    Path("run/checkpoints").mkdir(parents=True)
    Path("run/checkpoints/last.ckpt").touch()
    Path("bert").mkdir()
    Path("bert/config.json").write_text('{"model_type": "bert"}')
    assert said in refusal(source)
    assert len(refusal(source)) < 400
