"""The pages on ablations: every command in them is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from imagenet_captions.ablations.factors import FACTORS
from imagenet_captions.ablations.settings import parse_places
from imagenet_captions.cli.flags import read_values
from imagenet_captions.cli.main import SPECS, app

DOCS = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = sorted(DOCS.glob("ablate*.md"), key=lambda page: page.stem)


def commands(page: Path) -> list[list[str]]:
    blocks = re.findall(r"```\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


def test_there_is_a_page_a_factor() -> None:
    assert [page.stem for page in PAGES] == sorted(["ablate", *(f"ablate-{factor}" for factor in FACTORS)])
    overview = (DOCS / "ablate.md").read_text(encoding="utf-8")
    assert all(f"(ablate-{factor}.md)" in overview for factor in FACTORS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page_are_understood(page: Path) -> None:
    found = commands(page)
    assert found
    group = typer.main.get_command(app)
    for program, name, *arguments in found:
        assert program == "imagenet-captions"
        command = group.commands[name]  # type: ignore[attr-defined]
        values = read_values(SPECS[name].flags, command.make_context(name, arguments).params)
        assert name == "ablate"
        assert page.stem in ("ablate", f"ablate-{values['factor'].value}")
        assert parse_places(values["data"], "DATASET")
        assert values["dry_run"] or parse_places(values["on"], "--on")


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_a_factors_page_says_what_a_reader_asks(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for heading in ("The question", "The paper's design", "The arms", "What to expect", "What differs here"):
        assert f"**{heading}.**" in text
