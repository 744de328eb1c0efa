"""Make docs/reference.md: every command and flag, in the words of the command line's own help.

    python tools/make_reference.py

A test fails where the page does not say what the command line says.
"""

from __future__ import annotations

from pathlib import Path

from imagenet_captions.cli.commands import SECTIONS
from imagenet_captions.cli.group import Spec
from imagenet_captions.cli.help import CAPTIONS, EXAMPLES, PROGRAM, describe, head, usage
from imagenet_captions.cli.main import SPECS

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
_HEAD = f"""# Commands and flags

Made from the command line by `python tools/make_reference.py`; `{PROGRAM} COMMAND --help` says the same.
"""


def write_reference() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, names in SECTIONS.items():
        parts += [f"## {title}\n", *(_command(SPECS[name]) for name in names)]
    rows = "".join(_row(f"`{text}`", meaning) for text, meaning in CAPTIONS)
    parts.append(f"## Captions, as --caption takes them\n\n| caption | meaning |\n|---|---|\n{rows}")
    return "\n".join(parts)


def _command(spec: Spec) -> str:
    """Write a command: what it does, how it is called, its flags."""
    rows = "".join(_row(f"`{flag.spelled if flag.is_argument else head(flag)}`", describe(flag)) for flag in spec.flags)
    examples = "\n".join(f"{PROGRAM} {example}" for example in EXAMPLES[spec.name])
    about = " ".join(spec.about.split())
    table = f"| argument or flag | meaning |\n|---|---|\n{rows}"
    return f"### {spec.name}\n\n{about}\n\n```\n{usage(spec.name, spec.flags)}\n\n{examples}\n```\n\n{table}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(write_reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
