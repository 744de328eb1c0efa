"""What a user reads when a run cannot start or cannot go on: one sentence, and the last checkpoint kept."""

from __future__ import annotations

import errno
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch

from imagenet_captions.errors import DiskFullError, InputError
from imagenet_captions.models.load import load_model
from imagenet_captions.storage.files import write_json
from imagenet_captions.training.callbacks import read_checkpoint_step
from imagenet_captions.training.settings import settings_record
from imagenet_captions.training.train import train
from tests.training.made import at_step, settings, write_images

Happens = Callable[[Any, pytest.MonkeyPatch], Any]
LAST = Path("checkpoints") / "last.ckpt"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "data.parquet")


def really_runs_out(*_: object) -> None:
    torch.empty(1 << 60)


def scale_is(value: float) -> Happens:
    return lambda module, _: module.model.logit_scale.data.fill_(value)


def gradients_are_no_numbers(module: Any, _: pytest.MonkeyPatch) -> None:
    next(module.model.image.parameters()).register_hook(lambda gradient: gradient * float("nan"))


def the_disk_is_full(_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, opened: BinaryIO) -> None:
        opened.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("imagenet_captions.training.callbacks.torch.save", full)


@pytest.mark.parametrize(
    ("happens", "error", "sentence"),
    [
        (really_runs_out, InputError, r"with 8 images a process at a time \(`batch_size` 8\); lower it"),
        (
            scale_is(float("nan")),
            InputError,
            r"the loss at step 5 is not a number, at learning rate 0\.0.*a lower `lr`",
        ),
        (gradients_are_no_numbers, InputError, r"after step 6 the weights image\..* are not numbers"),
        (the_disk_is_full, DiskFullError, "no space is left on the disk"),
    ],
)
def test_a_run_that_breaks_off_keeps_its_last_checkpoint(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: Happens, error: type[Exception], sentence: str
) -> None:
    run = settings(data, tmp_path / "run", log_every=100)
    at_step(monkeypatch, 5, lambda module: happens(module, monkeypatch))
    with pytest.raises(error, match=sentence):
        train(run)
    assert read_checkpoint_step(run.out / LAST) == 3
    assert [path.name for path in (run.out / LAST).parent.iterdir()] == [LAST.name]
    assert not (run.out / "done.json").exists()


def test_a_signal_keeps_the_step_and_the_same_command_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = settings(data, tmp_path / "run")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for step, number in ((4, signal.SIGTERM), (6, signal.SIGINT)):
        with monkeypatch.context() as patch:
            at_step(patch, step, lambda _, number=number: signal.raise_signal(number))
            with pytest.raises(KeyboardInterrupt) as stop:
                train(run)
        assert stop.value.args == (number,)
        assert read_checkpoint_step(run.out / LAST) == step + 1
    result = train(run)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert result is not None
    assert result.steps == 9
    assert train(run) == replace(result, seconds=round(result.seconds, 3)), "a finished run is left as it is"
    with pytest.raises(InputError, match=r"holds a run with lr 0\.\d+, and this one has 0\.5; run it with the same"):
        train(settings(data, run.out, lr=0.5))


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        (LAST, b"", r"the checkpoint .*last\.ckpt is broken .*; remove it to start this run anew"),
        (Path("settings.json"), b"[1]", "has not the expected content"),
        (Path("settings.json"), b'{"recipe": 3}', "holds a run with"),
    ],
)
def test_a_broken_file_of_a_run_is_left_as_it_is(
    data: Path, tmp_path: Path, file: Path, content: bytes, sentence: str
) -> None:
    run = settings(data, tmp_path / "run")
    (run.out / LAST).parent.mkdir(parents=True)
    write_json(run.out / "settings.json", settings_record(run))
    (run.out / file).write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        train(run)
    assert (run.out / file).read_bytes() == content


@pytest.mark.parametrize(
    ("recipe", "columns", "changes", "sentence"),
    [
        ("micro-contrastive", (), {}, r"has neither texts nor labels"),
        ("micro-supervised", ("caption",), {}, r"has no labels"),
        ("micro-supervised", ("label",), {"batch_size": 50, "devices": 25}, r"24 images are too few for 25 processes"),
        ("micro-supervised", ("label",), {"ids": Path("nowhere.txt")}, r"the list of ids nowhere\.txt does not exist"),
        ("micro-contrastive", ("caption",), {"model": "resnet50"}, r"resnet50 has no text tower, and the contrastive"),
        ("micro-contrastive", ("caption",), {"caption": "subtitle"}, r"'subtitle' is not a caption field"),
        ("micro-contrastive", ("caption",), {"log": ("wandb",)}, r"`log` wandb needs wandb"),
    ],
)
def test_a_run_that_cannot_start(
    tmp_path: Path, recipe: str, columns: tuple[str, ...], changes: dict[str, Any], sentence: str
) -> None:
    data = write_images(tmp_path / "data.parquet", columns=columns)
    with pytest.raises(InputError, match=sentence):
        train(settings(data, tmp_path / "run", recipe, **changes))
    assert not (tmp_path / "run").exists(), "nothing was half-written"


def test_a_class_without_images(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data.parquet")
    ids = tmp_path / "ids.txt"
    ids.write_text("".join(f"image_{row:03}\n" for row in range(24) if row % 3 != 1))
    changes: dict[str, Any] = {"ids": ids, "model": "micro", "epochs": 1}
    with pytest.raises(InputError, match=r"no image of .* is of class \S+ \(goldfish\); give `empty_classes='drop'`"):
        train(settings(data, tmp_path / "fail", "micro-supervised", **changes))
    for choice, classes in (("drop", 2), ("keep", 3)):
        train(settings(data, tmp_path / choice, "micro-supervised", empty_classes=choice, **changes))
        assert len(load_model(str(tmp_path / choice)).head_classes or ()) == classes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch_size": 9, "devices": 2}, "`batch_size` 9 cannot be split into 2 equal"),
        ({"accumulate": 3}, "`batch_size` 8 cannot be split into 3 equal micro-batches"),
        ({"accumulate": 8}, "`accumulate` 8 leaves one image a part"),
        ({"init": "a", "init_image": "b"}, "`init` and `init_image` both"),
        ({"init_image": "b", "recipe": "micro-simclr"}, "`init_image` is for the contrastive objective"),
        ({"log": ("paper",)}, "`log` must be one of"),
        ({"model": "RN5O"}, "no model to build is called 'RN5O'; did you mean RN50"),
    ],
)
def test_settings_that_cannot_be(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        settings(tmp_path, tmp_path / "run", **change)


@pytest.mark.parametrize(
    ("gpus", "change", "sentence"),
    [
        (0, {"nodes": 2}, "`nodes` 2 needs torchrun, which starts the same command on every machine"),
        (0, {"accelerator": "gpu"}, "`accelerator` gpu needs a GPU, and PyTorch finds none on this machine"),
        (2, {"accelerator": "gpu", "devices": 8}, "`devices` 8 asks for more GPUs than this machine has, 2"),
        (0, {"model": "timm:resnet5"}, "no timm model is called 'resnet5'; did you mean resnet50"),
    ],
)
def test_what_the_machine_lacks_is_said_before_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, change: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    with pytest.raises(InputError, match=sentence):
        train(settings(tmp_path / "no data", tmp_path / "run", **change))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("do not lose me")
    with pytest.raises(InputError, match=r"holds 'thesis\.tex' and is not a run"):
        train(settings(data, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_set_smaller_than_a_batch_is_one_batch(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = settings(data, tmp_path / "run", "micro-supervised", model="micro", batch_size=50, accumulate=5, epochs=2)
    result = train(run)
    assert result is not None
    assert (result.steps, result.images_seen) == (2, 2 * 20)
    assert "has 24 images to train on, fewer than a batch of 50; each step has 20" in caplog.text
