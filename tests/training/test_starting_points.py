"""From scratch, from a checkpoint, from an image tower: what a run starts from, and what of it stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from imagenet_captions.errors import InputError
from imagenet_captions.evaluation.evaluate import EvaluateSettings, evaluate
from imagenet_captions.evaluation.settings import ClassifierSettings
from imagenet_captions.models.load import load_model
from imagenet_captions.models.weights import weights_digest
from imagenet_captions.training.train import train
from tests.command_line import run_cli
from tests.training.made import settings, weights, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "data.parquet")


def same_tower(one: Path, other: Path, tower: str) -> bool:
    ours, theirs = (
        {name: value for name, value in weights(run).items() if name.startswith(f"{tower}.")} for run in (one, other)
    )
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def trained(data: Path, out: Path, recipe: str = "micro-contrastive", **changes: Any) -> Path:
    train(settings(data, out, recipe, **changes))
    return out


def accuracy(model: Path, data: Path, *classifier: Any) -> float:
    chosen = ClassifierSettings(*classifier)
    found = evaluate(EvaluateSettings(str(model), (("own", data),), chosen))["test_sets"]["own"]
    assert found["n"] == 24
    return float(found["top1"])


def test_basic_is_supervised_first_and_then_learns_texts_with_its_image_tower_held_still(
    data: Path, tmp_path: Path
) -> None:
    first = trained(data, tmp_path / "first", "basic-supervised", model="basic-micro", steps=20)
    assert accuracy(first, data, "head") == 1.0, "the classes have colours of their own"
    texts: dict[str, Any] = {"recipe": "basic-contrastive", "model": "basic-micro"}
    second = trained(data, tmp_path / "second", steps=2, init_image=str(first), **texts)
    assert same_tower(first, second, "image"), "its batch statistics included"
    assert not same_tower(trained(data, tmp_path / "third", steps=1, **texts), second, "text")
    assert 0 <= accuracy(second, data, "zero-shot", "one") <= 1
    with pytest.raises(InputError, match="made by other rules"):
        trained(data, tmp_path / "fourth", model="align-micro", steps=1, init_image=str(first))


def test_stochastic_depth_is_for_the_image_towers_that_have_it(data: Path, tmp_path: Path) -> None:
    supervised: dict[str, Any] = {"recipe": "basic-supervised", "model": "basic-micro"}
    run = trained(data, tmp_path / "run", steps=2, drop_path=0.5, **supervised)
    model = load_model(str(run))
    assert model.config.image.options["arguments"]["drop_path_rate"] == 0.5
    drops = [module.drop_prob for module in model.image.modules() if type(module).__name__ == "DropPath"]
    assert max(drops) == 0.5
    with pytest.raises(InputError, match=r"`drop_path` 0\.2 needs stochastic depth, which micro does not have"):
        trained(data, tmp_path / "none", "basic-supervised", model="micro", steps=1)


def test_simclr_then_a_head_on_labels(data: Path, tmp_path: Path) -> None:
    first = trained(data, tmp_path / "first", "micro-simclr", model="micro", steps=4)
    assert load_model(str(first / "checkpoints" / "last.ckpt")).projector is None
    second = trained(data, tmp_path / "second", "micro-finetune", steps=2, init=str(first))
    scratch = trained(data, tmp_path / "scratch", "micro-finetune", model="micro", steps=2)
    assert not same_tower(second, scratch, "image")


def test_a_finished_run_does_not_need_the_model_that_it_started_from(data: Path, tmp_path: Path) -> None:
    first = trained(data, tmp_path / "first", steps=1)
    line = f"train {data} --recipe micro-contrastive --model vit-micro --batch-size 8 --steps 1 --workers 1"
    asked = [*line.split(), "--out", tmp_path / "second", "--init", first]
    assert run_cli(*asked).returncode == 0
    first.rename(tmp_path / "elsewhere")
    again = run_cli(*asked)
    assert again.returncode == 0, again.stderr
    assert "is finished: 1 steps" in again.stderr


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
    model, last, kept = map(load_model, map(str, (run.out, *sorted((run.out / "checkpoints").iterdir(), reverse=True))))
    assert weights_digest(last) == weights_digest(model) != weights_digest(kept)
    assert (last.name, last.head_classes, last.training) == (model.name, None, False)
