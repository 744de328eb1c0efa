"""From scratch, from a checkpoint, from an image tower: what a run starts from, and what of it stays as it was."""

from __future__ import annotations

import gc
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.evaluate import EvaluateSettings, evaluate
from imagenet_captions.evaluation.settings import ClassifierSettings
from imagenet_captions.models.load import load_model
from imagenet_captions.training.train import train
from tests.command_line import run_cli
from tests.training.made import settings, weights, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "data.parquet")


def part(run: Path, tower: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights(run).items() if name.startswith(f"{tower}.")}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("model", ["align-micro", "micro", "vit-micro"])
def test_twenty_steps_saved_reloaded_and_evaluated(data: Path, tmp_path: Path, model: str) -> None:
    result = train(settings(data, tmp_path / "run", model=model, steps=20))
    assert result is not None
    assert (result.steps, result.images) == (20, 6 * 24 + 16)
    metrics = evaluate(EvaluateSettings(str(result.run), (("own", data),), ClassifierSettings("zero-shot", "one")))
    assert metrics["test_sets"]["own"]["n"] == 24
    assert 0 <= metrics["test_sets"]["own"]["top1"] <= 1


@pytest.mark.slow
def test_no_worker_outlives_its_run(data: Path, tmp_path: Path) -> None:
    gc.disable()
    try:
        train(settings(data, tmp_path / "run", steps=2, workers=2))
        assert multiprocessing.active_children() == []
    finally:
        gc.enable()


def test_basic_is_supervised_first_and_then_learns_texts_with_its_image_tower_held_still(
    data: Path, tmp_path: Path
) -> None:
    first = settings(data, tmp_path / "first", "basic-supervised", model="basic-micro", steps=20, warmup_steps=2)
    train(first)
    metrics = evaluate(EvaluateSettings(str(first.out), (("own", data),), ClassifierSettings("head")))
    assert metrics["test_sets"]["own"]["top1"] == 1.0, "the classes have colours of their own"
    second = settings(
        data, tmp_path / "second", "basic-contrastive", model="basic-micro", steps=20, init_image=str(first.out)
    )
    train(second)
    assert equal(part(first.out, "image"), part(second.out, "image")), "its batch statistics included"
    before = settings(data, tmp_path / "third", "basic-contrastive", model="basic-micro", steps=1)
    train(before)
    assert not equal(part(before.out, "text"), part(second.out, "text"))
    assert evaluate(EvaluateSettings(str(second.out), (("own", data),)))["test_sets"]["own"]["n"] == 24


def test_stochastic_depth_is_for_the_image_towers_that_have_it(data: Path, tmp_path: Path) -> None:
    run = settings(data, tmp_path / "run", "basic-supervised", model="basic-micro", steps=2, drop_path=0.5)
    train(run)
    model = load_model(str(run.out))
    assert model.config.image.options["arguments"]["drop_path_rate"] == 0.5
    drops = [module.drop_prob for module in model.image.modules() if type(module).__name__ == "DropPath"]
    assert max(drops) == 0.5
    again = settings(data, tmp_path / "again", "basic-supervised", model="basic-micro", steps=1, init=str(run.out))
    train(again)
    assert load_model(str(again.out)).config.image.options["arguments"]["drop_path_rate"] == 0.2
    with pytest.raises(InputError, match=r"`drop_path` 0\.2 needs stochastic depth, which micro does not have"):
        train(settings(data, tmp_path / "none", "basic-supervised", model="micro", steps=1))


def test_simclr_then_a_head_on_labels(data: Path, tmp_path: Path) -> None:
    first = settings(data, tmp_path / "first", "micro-simclr", model="micro", steps=4)
    train(first)
    second = settings(data, tmp_path / "second", "micro-finetune", steps=20, init=str(first.out), lr=0.01)
    train(second)
    metrics = evaluate(EvaluateSettings(str(second.out), (("own", data),), ClassifierSettings("head")))
    assert metrics["test_sets"]["own"]["top1"] > 0.5
    scratch = settings(data, tmp_path / "scratch", "micro-finetune", model="micro", steps=20, lr=0.01)
    train(scratch)
    assert not equal(part(second.out, "image"), part(scratch.out, "image"))


def test_a_checkpoint_goes_on_as_another_run_with_a_locked_tower(data: Path, tmp_path: Path) -> None:
    first = settings(data, tmp_path / "first", steps=3)
    train(first)
    last = str(first.out / "checkpoints" / "last.ckpt")
    for lock, other in (("text", "image"), ("image", "text")):
        second = settings(data, tmp_path / lock, steps=3, init=last, lock=lock)
        train(second)
        assert equal(part(first.out, lock), part(second.out, lock))
        assert not equal(part(first.out, other), part(second.out, other))


def test_a_finished_run_does_not_need_the_model_that_it_started_from(data: Path, tmp_path: Path) -> None:
    first = settings(data, tmp_path / "first", steps=1)
    train(first)
    line = f"train {data} --recipe micro-contrastive --model vit-micro --batch-size 8 --steps 1 --workers 1"
    asked = [*line.split(), "--out", tmp_path / "second", "--init", first.out]
    assert run_cli(*asked).returncode == 0
    first.out.rename(tmp_path / "elsewhere")
    again = run_cli(*asked)
    assert again.returncode == 0, again.stderr
    assert "is finished: 1 steps" in again.stderr


def test_an_image_tower_of_other_pixels_is_refused(data: Path, tmp_path: Path) -> None:
    first = settings(data, tmp_path / "first", steps=1)
    train(first)
    with pytest.raises(InputError, match=r"do not fit the model|made by other rules"):
        train(settings(data, tmp_path / "second", model="micro", steps=1, init_image=str(first.out)))
    with pytest.raises(InputError, match="made by other rules"):
        train(settings(data, tmp_path / "third", model="align-micro", steps=1, init_image=str(first.out)))


def test_a_run_leaves_what_the_docs_say(data: Path, tmp_path: Path) -> None:
    run = settings(data, tmp_path / "run", log=("csv", "tensorboard"), keep_every=2, ids=None)
    train(run)
    found = {path.relative_to(run.out).as_posix() for path in run.out.rglob("*") if path.is_file()}
    assert {name for name in found if "tfevents" not in name} == {
        ".lock",
        "settings.json",
        "checkpoints/last.ckpt",
        "checkpoints/epoch-0002.ckpt",
        "logs/csv/version_0/metrics.csv",
        "logs/tensorboard/hparams.yaml",
        "model/model.json",
        "model/weights.safetensors",
        "done.json",
    }
    done: dict[str, Any] = json.loads((run.out / "done.json").read_text())
    assert set(done) == {"loss", "steps", "images_seen", "seconds"}
    assert (done["steps"], done["images_seen"]) == (9, 72)
    for source in (run.out, run.out / "checkpoints" / "last.ckpt", run.out / "checkpoints" / "epoch-0002.ckpt"):
        assert load_model(str(source)).has_text
