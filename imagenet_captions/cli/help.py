"""The help of the command line, in the same words and lines with every version of typer."""

import inspect
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from imagenet_captions.cli.flags import Flag

PROGRAM = "imagenet-captions"
_WIDEST, _NAMES = 100, 28


def program_help(about: str, sections: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    """The help of the program: what it is about, then the commands and what each does, in sections."""
    parts = [f"Usage: {PROGRAM} COMMAND [OPTIONS]", _wrapped(about)]
    parts += [_table(title, rows) for title, rows in sections.items()]
    parts.append(_wrapped(f"`{PROGRAM} COMMAND --help` tells what a command takes."))
    return "\n\n".join(parts) + "\n"


def command_help(name: str, about: str, flags: Sequence[Flag]) -> str:
    """The help of a command: how it is called, what it does, its arguments and flags."""
    arguments = [flag for flag in flags if flag.is_argument]
    usage = " ".join(map(_usage, arguments))
    parts = [" ".join(filter(None, [f"Usage: {PROGRAM} {name}", usage, "[OPTIONS]"])), _wrapped(about)]
    if arguments:
        parts.append(_table("Arguments", [(flag.spelled, _described(flag)) for flag in arguments]))
    options = [(_head(flag), _described(flag)) for flag in flags if not flag.is_argument]
    parts.append(_table("Options", [*options, ("--help", "Show this message and exit.")]))
    return "\n\n".join(parts) + "\n"


def _usage(flag: Flag) -> str:
    text = flag.spelled + ("..." if flag.many and not flag.spelled.endswith("...") else "")
    return text if flag.required else f"[{text}]"


def _head(flag: Flag) -> str:
    return "/".join(flag.names) if flag.kind is bool else f"{flag.spelled} {flag.value_name}"


def _described(flag: Flag) -> str:
    """The help of a flag, with whether it is required, or else its default."""
    text = " ".join((flag.declared.help or "").split())
    if flag.required:
        return f"{text}  [required]"
    default = flag.default.value if isinstance(flag.default, Enum) else flag.default
    if default is None or flag.kind is bool:
        return text
    return f"{text}  [default: {default}]"


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)


def _wrapped(text: str) -> str:
    return textwrap.fill(
        " ".join(inspect.cleandoc(text).split()), _width(), initial_indent="  ", subsequent_indent="  "
    )


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """Rows of a name and a text that is wrapped beside it, or below it where the name is long."""
    rows = list(rows)
    column = min(max(len(name) for name, _ in rows), _NAMES) + 4
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = textwrap.wrap(text, _width() - column, break_on_hyphens=False) or [""]
        if len(name) > _NAMES:
            lines.append(f"  {name}")
        else:
            lines.append(f"  {name:<{column - 2}}{wrapped.pop(0)}".rstrip())
        lines += [" " * column + each for each in wrapped]
    return "\n".join(lines)
