"""The commands of the page on evaluate, run as they are written, over small replicas of what they name."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagenet_captions.cli.app import app
from imagenet_captions.imagenet import classes
from imagenet_captions.models.build import build_model
from imagenet_captions.models.load import save_model
from tests.evaluation.made_sets import flat_val, ground_truth, picture, write_files, write_tar

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "evaluate.md"
WNIDS = sorted(set(classes.read_list("imagenet-r")) & set(classes.read_list("imagenet-a")))[:2]


def by_folder(folders: list[str], around: str) -> dict[str, bytes]:
    return {f"{around}/{folder}/{number}.jpg": picture(number * 9) for folder in folders for number in range(3)}


def write_sets(root: Path) -> None:
    write_tar(root / "ILSVRC2012_img_val.tar", flat_val(4))
    write_files(root, {"ILSVRC2012_validation_ground_truth.txt": ground_truth(WNIDS * 2)})
    v2 = "imagenetv2-matched-frequency-format-val"
    write_tar(root / f"{v2}.tar.gz", by_folder(["0", "10"], v2), "w:gz")
    write_files(root, by_folder(WNIDS, "imagenet-r"))
    write_files(root, by_folder(WNIDS, "sketch"))
    write_files(root, by_folder(["bicycle", "air_freshener"], "objectnet-1.0/images"))
    write_tar(root / "imagenet-a.tar", by_folder(WNIDS, "imagenet-a"))
    write_files(root, by_folder(WNIDS, "val"))
    write_files(root, by_folder(WNIDS, "imagenet-captions"))
    (root / "my-prompts.txt").write_text("a drawing of {}\n")
    save_model(build_model("micro", seed=0), root / "RUN")


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sets(tmp_path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    assert len(commands) == 7
    for command in commands:
        words = shlex.split(command)[1:]
        if words[0] == "evaluate" and "--classifier" not in words and "--prompts" not in words:
            words += ["--prompts", "none"]  # 80 sentences for 1000 classes take a minute
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    measured = json.loads((tmp_path / "metrics.json").read_text())["test_sets"]
    assert {name: entry["n"] for name, entry in measured.items()} == {
        "imagenet": 4,
        "imagenet_on_r_classes": 4,
        "imagenet_on_a_classes": 4,
        "imagenet-v2": 6,
        "imagenet-r": 6,
        "imagenet-sketch": 6,
        "objectnet": 3,
        "imagenet-a": 6,
    }
