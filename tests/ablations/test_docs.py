"""The pages on ablations: every factor stands on both, and every command is one that the command line takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from imagenet_captions.ablations.settings import EVERY_FACTOR
from tests.command_line import understood

DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = (DOCS / "how-to" / "ablate.md").read_text(encoding="utf-8")
DESIGN = (DOCS / "design" / "experiments.md").read_text(encoding="utf-8")


def test_every_factor_has_a_section_with_its_arms() -> None:
    sections = dict(re.findall(r"^## (\S+): .*?\n(.*?)(?=^## |\Z)", DESIGN, re.DOTALL | re.MULTILINE))
    assert sorted(sections) == sorted(EVERY_FACTOR)
    assert all("**The arms**" in text for text in sections.values())
    assert all(f"| `{factor}` |" in HOW_TO for factor in EVERY_FACTOR)


def test_the_commands_are_understood() -> None:
    blocks = "".join(re.findall(r"```\n(.*?)```", HOW_TO, re.DOTALL)).replace("\\\n", " ")
    for line in blocks.splitlines():
        program, name, *arguments = shlex.split(line)
        assert (program, name) == ("imagenet-captions", "ablate")
        values = understood(name, *arguments)
        assert values["settings"].data
        assert values.get("dry_run") or values["settings"].tests
