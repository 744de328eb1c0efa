"""Two processes on one machine, as `--devices 2` starts them, against one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagenet_captions.training.train import train
from tests.training.made import losses, repr_settings, run_python, settings, write_images

_TRAIN = """
import pickle, sys
from imagenet_captions.training.train import train
if __name__ == "__main__":
    train(pickle.loads(bytes.fromhex(sys.argv[1])))
"""


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_over_twenty_steps(tmp_path: Path) -> None:
    data = write_images(tmp_path / "data.parquet", 40)
    one = settings(data, tmp_path / "one", steps=20)
    train(one)
    two = replace(one, out=tmp_path / "two", devices=2)
    script = tmp_path / "run.py"
    script.write_text(_TRAIN)
    done = run_python(str(script), repr_settings(two))
    assert done.returncode == 0, done.stderr
    apart, together = losses(one.out), losses(two.out)
    assert set(apart) == set(together) == set(range(20))
    assert [together[step] for step in range(20)] == pytest.approx([apart[step] for step in range(20)], rel=1e-5)
