"""A run that is killed, stopped or started twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagenet_captions.training.train import train
from tests.training.made import losses, run_until_killed, same_weights, settings, write_images


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("micro-contrastive", {"save_every": 2}),
        ("micro-supervised", {"save_every": 2, "accumulate": 2, "model": "micro", "workers": 2}),
    ],
)
def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(
    tmp_path: Path, recipe: str, changes: dict[str, Any]
) -> None:
    data = write_images(tmp_path / "data.parquet")
    unbroken = settings(data, tmp_path / "unbroken", recipe, **changes)
    train(unbroken)
    broken = replace(unbroken, out=tmp_path / "broken")
    run_until_killed(broken, step=5)  # of 9, in the second epoch's middle; the last checkpoint is of step 4
    assert not (broken.out / "done.json").exists()
    assert set(losses(broken.out)) == set(range(6))
    result = train(broken)
    assert result is not None
    assert same_weights(unbroken.out, broken.out)
    assert losses(broken.out) == losses(unbroken.out)
    done, whole = (json.loads((run.out / "done.json").read_text()) for run in (broken, unbroken))
    assert (done["steps"], done["images_seen"], done["loss"]) == (9, 72, whole["loss"])
