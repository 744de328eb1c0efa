"""Whether as many processes were started as a training needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.training.processes import check_launch
from imagenet_captions.training.train import train
from tests.training.made import settings


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of eight processes, four on each machine."""
    for name, value in {"WORLD_SIZE": 8, "LOCAL_WORLD_SIZE": 4, "TORCHELASTIC_RUN_ID": 1}.items():
        monkeypatch.setenv(name, str(value))


def test_several_machines_without_torchrun_would_wait_for_ever(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`nodes` 2 needs torchrun, which starts the same command on every machine"):
        train(settings(tmp_path / "data.parquet", tmp_path / "run", nodes=2))
    assert not (tmp_path / "run").exists()


def test_a_training_may_be_started_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    check_launch(devices=4, nodes=1)
    monkeypatch.setenv("NODE_RANK", "1")
    check_launch(devices=4, nodes=2)


def test_torchrun_starts_what_was_asked_for(torchrun: None) -> None:
    check_launch(devices=4, nodes=2)
    for devices, nodes in ((8, 1), (4, 1), (2, 4), (1, 1)):
        sentence = "torchrun started 4 processes on this machine and 8 in all, and `devices` .* its nnodes as `nodes`"
        with pytest.raises(InputError, match=sentence):
            check_launch(devices, nodes)
