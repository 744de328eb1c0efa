"""The help of the command line, the page made of it, and what a shell completes."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import pytest
import typer
from typer.testing import CliRunner

from imagenet_captions.captions.caption_template import FIELDS as CAPTION_FIELDS
from imagenet_captions.captions.caption_template import CaptionTemplate
from imagenet_captions.cli.commands import SECTIONS
from imagenet_captions.cli.flags import read_values
from imagenet_captions.cli.help import CAPTIONS, EXAMPLES
from imagenet_captions.cli.main import SPECS, app
from imagenet_captions.dataset.filters import FIELDS, TEXT_FIELDS
from imagenet_captions.imagenet.class_lists import list_names
from tools.make_reference import PAGE, write_reference


def run(*arguments: str, **environment: str) -> str:
    return CliRunner().invoke(app, list(arguments), env=environment).output


def test_the_reference_is_what_the_command_line_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == write_reference(), "run: python tools/make_reference.py"


def test_every_command_has_two_examples_in_its_help() -> None:
    assert set(EXAMPLES) == set(SPECS)
    for name, examples in EXAMPLES.items():
        words = " ".join(run(name, "--help").replace("\\\n", " ").split())
        assert len(examples) == 2
        assert all(f"imagenet-captions {example}" in words for example in examples)


@pytest.mark.parametrize("example", [each for examples in EXAMPLES.values() for each in examples])
def test_an_example_is_understood(example: str) -> None:
    name, *arguments = shlex.split(example)
    command = typer.main.get_command(app).get_command(None, name)  # type: ignore[attr-defined]
    values = read_values(SPECS[name].flags, command.make_context(name, arguments).params)
    if "caption" in values and values["caption"] is not None:
        CaptionTemplate.parse(values["caption"])


@pytest.mark.parametrize(("text", "meaning"), CAPTIONS)
def test_a_caption_of_the_help_is_understood(text: str, meaning: str) -> None:
    assert str(CaptionTemplate.parse(text))
    assert meaning.endswith(".")


def test_the_help_of_captions_has_every_field_and_setting() -> None:
    words = " ".join(text + " " + meaning for text, meaning in CAPTIONS)
    settings = [name for name in CaptionTemplate.__dataclass_fields__ if name != "fields"]
    assert [name for name in (*CAPTION_FIELDS, *(f"{name}=" for name in settings)) if name not in words] == []
    with_captions = {name for name in SPECS if "Captions, as --caption takes them:" in run(name, "--help")}
    assert with_captions == {name for name, spec in SPECS.items() if spec.find("--caption")}


@pytest.mark.parametrize(
    ("command", "flag", "names"),
    [
        ("filter", "--class-list", list_names()),
        ("filter", "--has", FIELDS),
        ("filter", "--contains", TEXT_FIELDS),
        ("filter", "--matches", TEXT_FIELDS),
    ],
)
def test_a_flags_help_names_its_values(command: str, flag: str, names: tuple[str, ...]) -> None:
    assert unnamed(command, flag, names) == []


def test_the_help_of_train_names_recipes_and_models() -> None:
    pytest.importorskip("torch")
    from imagenet_captions.models.presets import PRESETS
    from imagenet_captions.training.recipes import RECIPES

    assert unnamed("train", "--recipe", RECIPES) == []
    assert unnamed("train", "--model", PRESETS) == []


def unnamed(command: str, flag: str, names: Iterable[str]) -> list[str]:
    """The values that the help of a flag does not name."""
    found = SPECS[command].find(flag)
    assert found is not None
    words = found.declared.help.replace(",", " ").replace("(", " ").replace(")", " ").replace(".", " ").split()
    return [name for name in names if name not in words]


@pytest.mark.parametrize("command", [(), ("build",)])
def test_h_is_short_for_help(command: tuple[str, ...]) -> None:
    assert run(*command, "-h") == run(*command, "--help")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("", [name for names in SECTIONS.values() for name in names]),
        ("fil", ["filter"]),
        ("export x --t", ["--to"]),
        ("export x --to ", ["open-clip-csv", "webdataset", "slim", "attribution", "release-json"]),
        ("ablate di", ["distribution"]),
        ("verify x y z", []),
        ("no-such-command fil", ["filter"]),
    ],
)
def test_a_shell_completes_commands_flags_and_choices(typed: str, offered: list[str]) -> None:
    words = f"imagenet-captions {typed}"
    count = len(words.split()) - (not words.endswith(" "))
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(count), "_IMAGENET_CAPTIONS_COMPLETE": "complete_bash"}
    assert run(**environment).split() == offered
