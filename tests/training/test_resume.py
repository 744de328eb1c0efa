"""A run that is killed, stopped or started twice."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from imagenet_captions.training import callbacks
from imagenet_captions.training.train import train
from tests.training.made import at_step, losses, run_until_killed, same_weights, settings, write_images


def crash(_: object) -> None:
    raise RuntimeError("the node went down")


@pytest.mark.parametrize(
    ("recipe", "changes", "killed"),
    [
        ("micro-contrastive", {}, False),
        pytest.param(
            "micro-supervised", {"accumulate": 2, "model": "micro", "workers": 2}, True, marks=pytest.mark.slow
        ),
    ],
)
def test_a_broken_run_ends_with_the_weights_of_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, changes: dict[str, Any], killed: bool
) -> None:
    data = write_images(tmp_path / "data.parquet")
    unbroken = settings(data, tmp_path / "unbroken", recipe, save_every=2, **changes)
    train(unbroken)
    broken = replace(unbroken, out=tmp_path / "broken")
    # At step 5 of 9, in the second epoch's middle; the last checkpoint is of step 4.
    if killed:
        run_until_killed(broken, step=5)
        assert set(losses(broken.out)) == set(range(6))
    else:
        with monkeypatch.context() as patch:
            at_step(patch, 5, crash)
            with pytest.raises(RuntimeError):
                train(broken)
    assert not (broken.out / "done.json").exists()
    result = train(broken)
    assert result is not None
    assert same_weights(unbroken.out, broken.out)
    assert losses(broken.out) == losses(unbroken.out)
    done, whole = (json.loads((run.out / "done.json").read_text()) for run in (broken, unbroken))
    assert (done["steps"], done["images_seen"], done["loss"]) == (9, 72, whole["loss"])


class Wandb:
    """Stands in for Lightning's logger of W&B, which needs an account; keeps what it was given."""

    started: ClassVar[list[Wandb]] = []

    def __init__(self, **given: Any) -> None:
        self.given, self.version, self.experiment = given, given["id"], self
        self.params: dict[str, Any] = {}
        self.losses: dict[int, float] = {}
        self.finished = False
        self.log_hyperparams = self.params.update
        self.started.append(self)

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.losses[step] = metrics["loss"]

    def finish(self) -> None:
        self.finished = True

    def __getattr__(self, name: str) -> Any:  # what else Lightning calls
        return lambda *_, **__: None


def test_a_resumed_run_goes_on_as_the_same_wandb_run_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "WandbLogger", Wandb)
    monkeypatch.setattr(callbacks, "find_spec", lambda name: name)
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    monkeypatch.setitem(sys.modules, "wandb.errors", SimpleNamespace(Error=RuntimeError))  # type: ignore[arg-type]
    monkeypatch.setattr(Wandb, "started", [])
    run = settings(write_images(tmp_path / "data.parquet"), tmp_path / "run", log=("wandb",), model="micro", steps=4)
    with monkeypatch.context() as patch:
        at_step(patch, 1, lambda _: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(KeyboardInterrupt):
            train(run)
    train(run)
    other = replace(run, out=tmp_path / "other")
    train(other)
    first, second, third = Wandb.started
    assert first.given["id"] == second.given["id"] != third.given["id"]
    assert first.given["resume"] == "allow"
    assert first.params["recipe"]["lr"] == run.recipe.lr
    assert first.params["seed"] == 0
    assert (set(first.losses), set(second.losses)) == ({0, 1}, {2, 3})
    assert first.finished, "a later run of this process is a W&B run of its own"
