"""Several processes: as many as a training needs, and with the losses of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.training.processes import check_launch
from imagenet_captions.training.train import train
from tests.command_line import run_cli_apart
from tests.training.made import losses, settings, write_images


def test_torchrun_starts_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    check_launch(devices=4, nodes=1)
    for name, value in {"WORLD_SIZE": 8, "LOCAL_WORLD_SIZE": 4, "TORCHELASTIC_RUN_ID": 1}.items():
        monkeypatch.setenv(name, str(value))
    check_launch(devices=4, nodes=2)
    for devices, nodes in ((8, 1), (4, 1), (2, 4), (1, 1)):
        sentence = "torchrun started 4 processes on this machine and 8 in all, and `devices` .* its nnodes as `nodes`"
        with pytest.raises(InputError, match=sentence):
            check_launch(devices, nodes)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_over_twenty_steps(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data.parquet", 40)
    one = settings(data, tmp_path / "one", steps=20)
    train(one)
    options = "--model vit-micro --batch-size 8 --steps 20 --warmup 2 --devices 2 --accelerator cpu --log-every 1"
    recipe = ["--recipe", "micro-contrastive", *options.split()]
    done = run_cli_apart("train", data, "--out", tmp_path / "two", *recipe)
    assert done.returncode == 0, done.stderr
    apart, together = losses(one.out), losses(tmp_path / "two")
    assert set(apart) == set(together) == set(range(20))
    assert [together[step] for step in range(20)] == pytest.approx([apart[step] for step in range(20)], rel=1e-5)
