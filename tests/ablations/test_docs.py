"""The pages on ablations: every command in them is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

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


def launched(words: list[str]) -> tuple[tuple[int, int], str, list[str]]:
    """How many machines and processes on each a command line starts, and what it starts there."""
    if words[0] != "torchrun":
        assert words[0] == "imagenet-captions"
        return (1, 1), words[1], words[2:]
    started = get_args_parser().parse_args(words[1:])
    assert started.no_python
    assert started.training_script == "imagenet-captions"
    name, *arguments = started.training_script_args
    return (int(started.nnodes), int(started.nproc_per_node)), name, arguments


@pytest.mark.parametrize("section", ["how-to", *SECTIONS])
def test_the_commands_are_understood(section: str) -> None:
    found = commands(SECTIONS.get(section, HOW_TO))
    assert found
    for words in found:
        processes, name, arguments = launched(words)
        assert name == "ablate"
        values = understood(name, *arguments)
        settings = values["settings"]
        assert section in ("how-to", *settings.factors)
        assert settings.data
        assert values.get("dry_run") or settings.tests
        assert (settings.nodes, settings.devices) == processes


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_says_what_a_reader_asks(section: str) -> None:
    for heading in ("The question", "The paper's design", "The arms", "What to expect", "What differs here"):
        assert f"**{heading}.**" in SECTIONS[section]
