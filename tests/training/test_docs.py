"""What docs/how-to/train.md shows: its small commands, run as written, and the names and flags that it lists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from imagenet_captions.training.recipes import RECIPES
from tests.command_line import run_bash, run_cli, run_lines

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "how-to" / "train.md").read_text(encoding="utf-8")


def test_the_small_commands(tmp_path: Path) -> None:
    for name, colour in (("red", (200, 10, 10)), ("green", (10, 200, 10))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (32, 32), colour).save(tmp_path / "pictures" / name / f"{number}.png")
    (script,) = re.findall(r"```bash small\n(.*?)```", PAGE, re.DOTALL)
    data = (DOCS / "reference" / "data.md").read_text(encoding="utf-8")
    (of_data,) = re.findall(r"```bash\n(.*?)```", data, re.DOTALL)
    done = run_lines(script + of_data, tmp_path)
    assert "warmup_steps    500" in done.stdout
    for run, test in (("clip", "test"), ("noclip", "own")):
        assert json.loads((tmp_path / run / "metrics.json").read_text())["test_sets"][test]["n"] == 16
        assert (tmp_path / run / "done.json").exists()
    assert "Traceback" not in done.stderr
    assert "step/s" not in done.stderr, "a bar is for a terminal"


@pytest.mark.slow
def test_a_loop_of_ones_own(tmp_path: Path) -> None:
    page = (DOCS / "how-to" / "train-your-own.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    loop, resume = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    run_lines(script, tmp_path)
    (tmp_path / "loop.py").write_text(loop)
    (tmp_path / "resume.py").write_text(f"{loop}\n{resume}\nprint(sampler.epoch, sampler.step)")
    shown = run_bash("python loop.py && python resume.py | tail -n 1", tmp_path).splitlines()
    assert {line.split()[0] for line in shown[:-1]} == {"0", "1"}
    assert "torch.Size([8, 3, 224, 224])" in shown[0]
    assert shown[-1] == "2 0"


def test_every_recipe_is_on_the_page_and_every_flag_exists() -> None:
    assert all(f"`{name}`" in PAGE for name in RECIPES)
    flags = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--classifier"}
    assert flags <= set(re.findall(r"--[a-z-]+", run_cli("train", "--help", COLUMNS="200").stdout))


def test_mistakes_on_the_command_line_are_one_sentence(tmp_path: Path) -> None:
    for arguments, sentence in (
        (["train"], "training needs DATA and --out RUN"),
        (["train", "--show", "papr"], "no recipe is called 'papr'"),
        (["train", "x", "--out", "y"], "training needs --objective"),
        (["train", "x", "--out", "y", "--recipe", "finetune", "--objective", "simclr"], "says the objective too"),
        (["train", str(tmp_path / "x"), "--out", str(tmp_path / "y"), "--recipe", "finetune"], "does not exist"),
        (["train", "x", "--out", "y", "--recipe", "align", "--on", "gone"], "gone does not exist"),
    ):
        done = run_cli(*arguments)
        assert done.returncode == 2
        assert sentence in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
