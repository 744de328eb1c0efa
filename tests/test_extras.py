import configparser
from pathlib import Path

import pytest

from imagenet_captions import extras
from imagenet_captions.errors import InputError


def test_a_missing_extra_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == "torch" else object())
    with pytest.raises(InputError, match=r"training needs torch; .*pip install 'imagenet-captions\[train\]'"):
        extras.require("train", "training")


def test_an_extra_that_is_there_is_silent(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda module: object())
    extras.require("train", "training")


def test_every_extra_that_is_asked_for_is_one_of_setup_cfg():
    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg")
    assert set(extras._MODULES) <= set(config["options.extras_require"])
