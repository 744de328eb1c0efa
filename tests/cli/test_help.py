"""The help of the command line, the page made of it, and what a shell completes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

import pytest
from click.testing import CliRunner

from imagenet_captions.captions.caption_template import EXAMPLES, CaptionTemplate
from imagenet_captions.captions.caption_template import FIELDS as CAPTION_FIELDS
from imagenet_captions.cli.app import app, command
from imagenet_captions.cli.commands import COMMANDS
from imagenet_captions.dataset.filters import FIELDS, TEXT_FIELDS
from imagenet_captions.imagenet.classes import list_names
from tests.command_line import understood
from tools.make_reference import PAGE, write_reference


def run(*arguments: str, **environment: str) -> str:
    return CliRunner().invoke(app, list(arguments), env=environment).output


def test_the_reference_is_what_the_command_line_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == write_reference(), "run: python tools/make_reference.py"


def test_the_examples_are_in_the_help_and_understood() -> None:
    for name, entry in COMMANDS.items():
        words = " ".join(run(name, "-h").replace("\\\n", " ").split())
        for example in entry.examples:
            assert f"imagenet-captions {example}" in words
            understood(*shlex.split(example))


def test_the_help_of_captions_has_every_field_and_setting() -> None:
    for text, meaning in EXAMPLES:
        assert str(CaptionTemplate.parse(text))
        assert meaning.endswith(".")
    words = " ".join(text + " " + meaning for text, meaning in EXAMPLES)
    settings = [name for name in CaptionTemplate.__dataclass_fields__ if name != "fields"]
    assert [name for name in (*CAPTION_FIELDS, *(f"{name}=" for name in settings)) if name not in words] == []
    with_captions = {name for name in COMMANDS if "Captions, as --caption takes them:" in run(name, "--help")}
    assert with_captions == {name for name in COMMANDS if "--caption" in command(name).flags}


def test_a_flags_help_names_its_values() -> None:
    assert unnamed("filter", "--class-list", list_names()) == unnamed("filter", "--has", FIELDS) == []
    assert unnamed("filter", "--contains", TEXT_FIELDS) == unnamed("filter", "--matches", TEXT_FIELDS) == []
    pytest.importorskip("torch")
    from imagenet_captions.models.config import PRESETS
    from imagenet_captions.training.recipes import RECIPES

    assert unnamed("train", "--recipe", RECIPES) == []
    assert unnamed("train", "--model", PRESETS) == []


def unnamed(name: str, flag: str, names: Iterable[str]) -> list[str]:
    """The values that the help of a flag does not name."""
    words = re.split(r"[,(). ]+", command(name).flags[flag].help)
    return [each for each in names if each not in words]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("", [*COMMANDS]),
        ("export x --t", ["--to"]),
        ("export x --to ", ["open-clip-csv", "webdataset", "slim", "attribution", "release-json"]),
        ("verify x y z", []),
        ("no-such-command fil", ["filter"]),
    ],
)
def test_a_shell_completes_commands_flags_and_choices(typed: str, offered: list[str]) -> None:
    words = f"imagenet-captions {typed}"
    count = len(words.split()) - (not words.endswith(" "))
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(count), "_IMAGENET_CAPTIONS_COMPLETE": "bash_complete"}
    assert [line.partition(",")[2] for line in run(**environment).split()] == offered
