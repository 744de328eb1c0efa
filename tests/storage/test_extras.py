"""Extras: what they are called, where they come from, and that every text says so in one way."""

import configparser
import re
from pathlib import Path

import pytest

from imagenet_captions.errors import InputError
from imagenet_captions.storage import faults as extras

ROOT = Path(__file__).parents[2]


@pytest.fixture
def known() -> set[str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return set(config["options.extras_require"])


def test_a_missing_extra_is_named_with_its_command_and_its_place(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "torch" else object())
    with pytest.raises(InputError) as caught:
        extras.require("train", "training")
    assert str(caught.value) == (
        "training needs torch, which is not installed; for the extra 'train' run pip install '.[train]' in a clone of "
        "imagenet-captions (see Install in its README)"
    )


def test_only_the_modules_asked_for_count(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "matplotlib" else object())
    extras.require("report", "--html", "jinja2")
    with pytest.raises(InputError, match="a figure needs matplotlib"):
        extras.require("report", "a figure", "matplotlib")


def test_an_extra_that_is_there_is_silent(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: object())
    extras.require("train", "training")


def test_every_extra_that_is_named_is_one_of_setup_cfg(known):
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "imagenet_captions").rglob("*.py"))
    named = set(re.findall(r"(?:\brequire|how_to_install)\(\"(\w+)\"", code)) | set(extras._MODULES)
    assert named == {"train", "ray", "report", "cloud"} <= known


def test_no_text_installs_the_project_from_an_index_that_does_not_have_it(known):
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "imagenet_captions").rglob("*.py")]
    found = {path: re.findall(r"pip install (?:-e )?([^\n`]+)", path.read_text(encoding="utf-8")) for path in texts}
    for path, installed in found.items():
        for what in installed:
            assert not what.strip("'\"").startswith("imagenet-captions"), path
            for extra in re.findall(r"\.\[([\w,]+)\]", what):
                assert set(extra.split(",")) <= known, path
    assert sum(map(len, found.values())) > 8
