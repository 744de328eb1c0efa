"""Make docs/reference.md: every command and flag, in the words of the command line's own help.

    python tools/make_reference.py

A test fails where the page does not say what the command line says.
"""

from __future__ import annotations

from pathlib import Path

import click

from imagenet_captions.cli.app import PROGRAM, command, describe, head
from imagenet_captions.cli.commands import CAPTIONS, SECTIONS

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"


def write_reference() -> str:
    """Return the page."""
    lines = ["# Commands and flags\n"]
    lines += [
        f"Made from the command line by `python tools/make_reference.py`; `{PROGRAM} COMMAND --help` says the same."
    ]
    for title, entries in SECTIONS.items():
        lines += [f"\n## {title}"]
        for name, entry in entries.items():
            made = command(name)
            usage = " ".join([PROGRAM, name, *made.collect_usage_pieces(click.Context(made))])
            examples = "\n".join(f"{PROGRAM} {example}" for example in entry.examples)
            lines += [f"\n### {name}\n\n{entry.about}\n\n```\n{usage}\n\n{examples}\n```\n"]
            lines += ["| argument or flag | meaning |\n|---|---|"]
            lines += [_row(f"`{head(one)}`", describe(one)) for one in made.options.values()]
    lines += ["\n## Captions, as --caption takes them\n\n| caption | meaning |\n|---|---|"]
    lines += [_row(f"`{text}`", meaning) for text, meaning in CAPTIONS]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    PAGE.write_text(write_reference(), encoding="utf-8")
