"""The commands of docs/how-to/export.md, run as they are written."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from imagenet_captions.demo.run import SAMPLE, run_demo
from imagenet_captions.exports.settings import TARGETS
from tests.command_line import run_cli, run_lines

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's reader has, made of the sample."""
    folder = tmp_path_factory.mktemp("export")
    shutil.copy(SAMPLE / "release.json", folder / "imagenet_captions.json")
    shutil.copytree(SAMPLE / "train", folder / "ILSVRC2012_img_train")
    run_demo(folder / "rebuilt")
    run_cli("build", "--release", "imagenet_captions.json", "--out", "imagenet-captions", folder=folder)
    return folder


def test_every_command(folder: Path) -> None:
    for block in (block for language, block in BLOCKS if language == "bash"):
        run_lines(block, folder)
    assert len(pd.read_csv(folder / "train.tsv", sep="\t")) > 0
    assert list((folder / "shards").glob("*.tar"))
    assert (folder / "ATTRIBUTION.md").read_text().startswith("# Attribution")
    assert pd.read_csv(folder / "templates.tsv", sep="\t")["filepath"].str.startswith("/data/train/n").all()


def test_every_target_is_named() -> None:
    assert all(f"| `{target}` |" in TEXT for target in TARGETS)
