"""Make docs/reference.md: the name of every command and flag.

    python tools/make_reference.py

A test fails where the page does not say what the command line says.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from imagenet_captions.captions.caption_template import EXAMPLES
from imagenet_captions.cli.app import PROGRAM, command, head
from imagenet_captions.cli.commands import COMMANDS, SECTIONS

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"


def write_reference() -> str:
    """Return the page."""
    lines = [
        "# Commands and flags\n",
        f"`{PROGRAM} COMMAND --help` has each flag's meaning; this page says which there are.",
    ]
    for title, names in SECTIONS.items():
        lines += [f"\n## {title}"]
        for name in names:
            flags = ", ".join(f"`{head(one)}`" for one in command(name).options.values())
            lines += [f"\n### {name}\n\n{COMMANDS[name].about}\n\n{textwrap.fill(flags, 140, break_long_words=False)}"]
    lines += ["\n## Captions, as --caption takes them\n\n| caption | meaning |\n|---|---|"]
    lines += [f"| `{text.replace('|', chr(92) + '|')}` | {meaning} |" for text, meaning in EXAMPLES]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(write_reference(), encoding="utf-8")
