"""Ablations under torchrun, in real processes: two on one machine, and two torchruns as on two machines."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imagenet_captions.ablations.ablate import ablate
from imagenet_captions.ablations.settings import AblateSettings
from imagenet_captions.ablations.testing import read_answers
from tests.ablations.made import write_micro_set
from tests.training.made import losses, weights

ROOT = Path(__file__).parents[3]
MODEL = "vit-micro"  # without batch statistics, which two processes do not share
SECONDS = 900

# A process that dies by itself, as if the kernel had killed it: DIES is a rank, a word of its command, and a file that
# it waits for. Python imports this module at its start.
SITECUSTOMIZE = """
import os, signal, sys, threading, time

def die(path):
    while not os.path.exists(path):
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGKILL)

rank, word, path = os.environ.get("DIES", "none|none|none").split("|")
if os.environ.get("RANK") == rank and word in " ".join(sys.orig_argv):
    threading.Thread(target=die, args=[path], daemon=True).start()
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


@contextmanager
def started(settings: AblateSettings, nodes: int, devices: int, dies: str = "") -> Iterator[list[Path]]:
    """A torchrun for each of `nodes` machines, waited for at the end; gives the files of what they write."""
    out = settings.out
    out.parent.mkdir(parents=True, exist_ok=True)
    (out.parent / "sitecustomize.py").write_text(SITECUSTOMIZE)
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    meeting = ["--nnodes", str(nodes), "--nproc-per-node", str(devices), "--rdzv-backend", "c10d"]
    meeting += ["--rdzv-endpoint", f"127.0.0.1:{port}"]
    tests = next(iter((settings.tests or {}).values()))
    asked = f"ablate test-language squares={settings.data['squares']} --on {tests} --preset micro --out {out}"
    asked += f" --epochs 2 --seeds {settings.seeds} --model {MODEL} --workers 1 --nodes {nodes} --devices {devices}"
    python = [sys.executable, "-m", "torch.distributed.run", *meeting, "-m", "imagenet_captions", *asked.split()]
    environment = {**os.environ, "PYTHONPATH": f"{out.parent}{os.pathsep}{ROOT}", "CUDA_VISIBLE_DEVICES": ""}
    if dies:
        environment["DIES"] = dies
    logs = [out.parent / f"machine-{number}.txt" for number in range(nodes)]
    machines = []
    for log in logs:
        with log.open("wb") as opened:
            machines.append(subprocess.Popen(python, stdout=opened, stderr=opened, env=environment))
    try:
        yield logs
        for machine in machines:
            machine.wait(SECONDS)
    finally:
        for machine in machines:
            machine.terminate()
            machine.wait(SECONDS)


def together(settings: AblateSettings, nodes: int, devices: int, dies: str = "") -> list[str]:
    """What an ablation under torchrun wrote on each machine."""
    with started(settings, nodes, devices, dies) as logs:
        pass
    return [log.read_text() for log in logs]


def sentences(text: str) -> list[str]:
    return re.findall(r"^imagenet-captions: .*$", text, re.MULTILINE)


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
        for name, answers in read_answers(other).items():
            assert np.array_equal(read_answers(run)[name], answers)


@pytest.mark.slow
def test_two_processes_of_torchrun_make_one_ablation(alone: AblateSettings, tmp_path: Path) -> None:
    settings = replace(alone, out=tmp_path / "out", seeds=1)
    [text] = together(settings, nodes=1, devices=2)
    assert str(settings.out / "report.md") in text, text
    check_same(settings, alone)
    assert text.count("loading PyTorch") == text.count("8 in all, 6 images a step") == 1


@pytest.mark.slow
def test_two_machines_fail_die_and_go_on_together(alone: AblateSettings, tmp_path: Path) -> None:
    """First a training is killed on one machine, then the leader, then nobody."""
    settings = replace(alone, out=tmp_path / "out")
    texts = together(settings, 2, 1, dies="1|squares-clip-s0.train.json|/")
    failed = [line for text in texts for line in sentences(text)]
    assert len(failed) == 2, texts
    reason = r"squares-clip-s0 because the training in .* ended in process 1 on \S+ with exit code -9: what it wrote"
    assert all(re.search(reason, line) for line in failed)
    assert sum("imagenet-captions: the first process of this ablation failed: " in line for line in failed) == 1
    assert "squares-clip-s0 failed" in (settings.out / "report.md").read_text()
    first, second = (settings.out / "runs" / f"squares-clip-s{seed}" for seed in range(2))
    assert not (first / "done.json").exists()
    assert (second / "done.json").exists(), "the next run starts on all machines"

    texts = together(settings, 2, 1, dies=f"0|m imagenet_captions ablate|{first / 'checkpoints' / 'last.ckpt'}")
    left = [line for text in texts for line in sentences(text)]
    assert len(left) == 1, texts
    assert left[0].endswith("run the same command again on every machine to go on")

    texts = together(settings, 2, 1)
    assert sorted(str(settings.out / "report.md") in text for text in texts) == [False, True], texts
    assert sorted("run 1 of" in text for text in texts) == [False, True], "the leader speaks for all"
    check_same(settings, alone)


@pytest.mark.slow
def test_a_follower_that_dies_ends_the_ablation_of_its_machine(alone: AblateSettings, tmp_path: Path) -> None:
    settings = replace(alone, out=tmp_path / "out", seeds=1)
    checkpoint = settings.out / "runs" / "squares-clip-s0" / "checkpoints" / "last.ckpt"
    [text] = together(settings, 1, 2, dies=f"1|m imagenet_captions ablate|{checkpoint}")
    assert sentences(text) == [
        "imagenet-captions: stopped by a signal; what was finished is kept, run the same command again on every "
        "machine to go on"
    ]
    [text] = together(settings, 1, 2)
    assert str(settings.out / "report.md") in text, text
    check_same(settings, alone)
