"""The pages on ablations: every command in them is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from imagenet_captions.ablations.settings import EVERY_FACTOR
from tests.command_line import understood

DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = (DOCS / "how-to" / "ablate.md").read_text(encoding="utf-8")
DESIGN = (DOCS / "design" / "experiments.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\S+): .*?\n(.*?)(?=^## |\Z)", DESIGN, re.DOTALL | re.MULTILINE))


def commands(text: str) -> list[list[str]]:
    blocks = re.findall(r"```\n(.*?)```", text, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_every_factor_has_a_section() -> None:
    assert sorted(SECTIONS) == sorted(EVERY_FACTOR)
    assert all(f"| `{factor}` |" in HOW_TO for factor in EVERY_FACTOR)


@pytest.mark.parametrize("section", ["how-to", *SECTIONS])
def test_the_commands_are_understood(section: str) -> None:
    found = commands(SECTIONS.get(section, HOW_TO))
    assert found
    for program, name, *arguments in found:
        assert (program, name) == ("imagenet-captions", "ablate")
        values = understood(name, *arguments)
        settings = values["settings"]
        assert section in ("how-to", *settings.factors)
        assert settings.data
        assert values.get("dry_run") or settings.tests


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_says_what_a_reader_asks(section: str) -> None:
    for heading in ("The question", "The paper's design", "The arms", "What to expect", "What differs here"):
        assert f"**{heading}.**" in SECTIONS[section]
