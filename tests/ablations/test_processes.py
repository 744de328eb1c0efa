"""Ablations in several real processes: on one machine, and two torchruns as on two machines."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagenet_captions.ablations.ablate import ablate
from imagenet_captions.ablations.settings import AblateSettings
from imagenet_captions.ablations.testing import read_answers
from imagenet_captions.errors import InputError
from tests.ablations.made import write_micro_set
from tests.training.made import losses, weights

ROOT = Path(__file__).parents[2]
MODEL = "vit-micro"  # without batch statistics, which two processes do not share
SECONDS = 900

# Python imports this module at its start. DIES is a rank and a file: the process of that rank dies once the file is
# there, as if the kernel had killed it.
SITECUSTOMIZE = """
import os, signal, threading, time

rank, _, path = os.environ.get("DIES", "").partition("|")

def die():
    while not (os.path.exists(path) and os.environ.get("RANK") == rank):
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)

if rank:
    threading.Thread(target=die, daemon=True).start()
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> AblateSettings:
    """One process's ablation: two trainings and their tests."""
    folder = tmp_path_factory.mktemp("alone")
    data = write_micro_set(folder / "squares.parquet", per_class=8)
    test = write_micro_set(folder / "test.parquet", per_class=6, seed=1)
    places = ({"squares": data}, folder / "out", "micro", {"test": test})
    settings = AblateSettings(("test-language",), *places, seeds=2, epochs=2, model=MODEL, workers=1)
    ablate(settings)
    return settings


def together(settings: AblateSettings, nodes: int, devices: int, dies: str = "") -> list[str]:
    """What a command on each of `nodes` machines wrote; without `nodes` it starts its processes by itself."""
    out = settings.out
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / "sitecustomize.py").write_text(SITECUSTOMIZE)
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    meeting = f"torch.distributed.run --nnodes {nodes} --nproc-per-node {devices} --rdzv-backend c10d"
    meeting += f" --rdzv-endpoint 127.0.0.1:{port} -m "
    tests = next(iter((settings.tests or {}).values()))
    asked = f"imagenet_captions ablate test-language squares={settings.data['squares']} --on {tests} --out {out}"
    asked += f" --preset micro --epochs 2 --seeds {settings.seeds} --model {MODEL} --workers 1 --devices {devices}"
    asked += f" --nodes {max(nodes, 1)}"
    command = [sys.executable, "-m", *f"{meeting if nodes else ''}{asked}".split()]
    paths = f"{out.parent}{os.pathsep}{ROOT}"
    environment = {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "DIES": dies}
    how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment}
    machines = [subprocess.Popen(command, **how) for _ in range(max(nodes, 1))]
    try:
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda machine: machine.communicate(timeout=SECONDS)[0], machines))
    finally:
        for machine in machines:
            machine.kill()


def check_same(found: AblateSettings, wanted: AblateSettings) -> None:
    """Runs have the losses, weights and answers of those of one process."""
    for seed in range(found.seeds):
        run, other = (each.out / "runs" / f"squares-clip-s{seed}" for each in (found, wanted))
        assert set(losses(run)) == set(losses(other)) == {0, 7}
        assert list(losses(run).values()) == pytest.approx(list(losses(other).values()), rel=1e-5)
        ours, theirs = weights(run), weights(other)
        apart = sum(float((ours[name].double() - theirs[name].double()).square().sum()) for name in theirs)
        whole = sum(float(each.double().square().sum()) for each in theirs.values())
        assert (apart / whole) ** 0.5 < 1e-3
        for name, answers in read_answers(other / "metrics.json").items():
            assert np.array_equal(read_answers(run / "metrics.json")[name], answers)


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "devices"), [(0, 2), (2, 1)])
def test_two_processes_of_which_one_dies_go_on_together(
    alone: AblateSettings, tmp_path: Path, nodes: int, devices: int
) -> None:
    settings = replace(alone, out=tmp_path / "out")
    report = str(settings.out / "report.md")
    first, second = (settings.out / "runs" / f"squares-clip-s{seed}" for seed in range(2))
    texts = together(settings, nodes, devices, dies=f"1|{second / 'checkpoints' / 'last.ckpt'}")
    assert not any(report in text for text in texts), texts
    assert (first / "done.json").exists()
    assert not (second / "done.json").exists()
    if not nodes:
        assert "imagenet-captions: a process ended with exit code -9; run the same command again to go on" in texts[0]
    texts = together(settings, nodes, devices)
    assert sorted(report in text for text in texts) == [False, True][-len(texts) :], texts
    whole = "\n".join(texts)
    assert whole.count("run 1 of") == whole.count("going on at step") == 1, "the first process speaks for all"
    check_same(settings, alone)


@pytest.mark.parametrize(("nodes", "devices"), [(1, 1), (2, 2)])
def test_torchrun_starts_as_many_processes_as_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nodes: int, devices: int
) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "TORCHELASTIC_RUN_ID": 1}.items():
        monkeypatch.setenv(name, str(value))
    settings = AblateSettings(("size",), {}, tmp_path / "out", nodes=nodes, devices=devices)
    with pytest.raises(InputError, match=rf"torchrun started 2 processes .* ask for {devices} and {devices * nodes};"):
        ablate(settings)
