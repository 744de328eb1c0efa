"""Several processes: as many as a training needs, and with the losses of one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.training.processes import check_launch
from imagenet_captions.training.train import train
from tests.command_line import ENVIRONMENT, HANGS_AFTER, run_cli_apart
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


TWO = "--recipe micro-contrastive --model vit-micro --batch-size 8 --warmup 2 --devices 2 --accelerator cpu".split()


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_over_twenty_steps(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data.parquet", 40)
    one = settings(data, tmp_path / "one", steps=20)
    train(one)
    done = run_cli_apart("train", data, "--out", tmp_path / "two", *TWO, "--steps", "20", "--log-every", "1")
    assert done.returncode == 0, done.stderr
    apart, together = losses(one.out), losses(tmp_path / "two")
    assert set(apart) == set(together) == set(range(20))
    assert [together[step] for step in range(20)] == pytest.approx([apart[step] for step in range(20)], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("call", ["main.main()", "app.app()"])  # with a handler of SIGTERM, and without
def test_sigterm_ends_two_processes_at_once_in_a_sentence(tmp_path: Path, call: str) -> None:
    """Lightning's own handler would wait for a broadcast that the other process never joins."""
    data, out = write_images(tmp_path / "data.parquet"), tmp_path / "run"
    (tmp_path / "program.py").write_text(f"from imagenet_captions.cli import app, main\n{call}\n")
    command = [sys.executable, tmp_path / "program.py", "train", data, "--out", out, *TWO, "--epochs", "9999"]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as run:
        while not (out / "checkpoints" / "last.ckpt").exists():
            assert run.poll() is None
            time.sleep(0.1)
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=HANGS_AFTER)
    assert run.returncode == 143
    assert said.strip().endswith(
        "imagenet-captions: interrupted; what was finished is kept, run the same command again"
    )
