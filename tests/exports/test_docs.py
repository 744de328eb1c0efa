"""The commands and examples of docs/how-to/export.md, run as they are written."""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.demo.run import SAMPLE, run_demo
from imagenet_captions.exports import TARGETS
from tests.command_line import run_lines

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "export.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's reader has, made of the sample."""
    folder = tmp_path_factory.mktemp("export")
    shutil.copy(SAMPLE / "release.json", folder / "imagenet_captions.json")
    shutil.copytree(SAMPLE / "train", folder / "ILSVRC2012_img_train")
    (denylist,) = (block for _, block in BLOCKS if "11632020" in block)
    (folder / "deny.txt").write_text(denylist)
    run_demo(folder / "rebuilt")
    return folder


def test_every_command(folder: Path) -> None:
    blocks = [block for language, block in BLOCKS if language == "bash"]
    build = blocks.pop()
    assert "build" in build
    run_lines(build, folder)
    for block in blocks:
        run_lines(block, folder)
    assert len(pd.read_csv(folder / "train.tsv", sep="\t")) > 0
    assert list((folder / "shards").glob("*.tar"))
    assert (folder / "ATTRIBUTION.md").read_text().startswith("# Attribution")
    assert pd.read_csv(folder / "templates.tsv", sep="\t")["filepath"].str.startswith("/data/train/n").all()


def test_every_example() -> None:
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0
    assert doctest.testfile(str(PAGE), module_relative=False).attempted >= 3


def test_every_target_and_setting_is_named() -> None:
    assert all(f"| `{target}` |" in TEXT for target in TARGETS)
    assert all(f"{name}=" in TEXT for name in vars(CaptionTemplate()) if name != "fields")
