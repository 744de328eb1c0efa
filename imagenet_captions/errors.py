"""Everything this package raises on purpose, and texts for a terminal.

ImagenetCaptionsError       the root: catch this one to catch them all            exit code 2
├── InputError              bad input or settings: something has to be changed               2
│   └── NotFoundError       a file, folder or object is not there                            2
├── NetworkError            a store, a hub or a cluster cannot be reached, or fails          2
├── DiskFullError           no space is left, or the quota is used up                        2
└── StoppedEarly            work is left and kept: the same command goes on with it          3

A message says what happened, shows the value, and says what to do. It names parameters between backquotes
(`workers`), which the command line writes as flags before it prints the message and exits with the class's code.
Anything else that escapes is a bug of ours and keeps its traceback.
"""

import difflib
import re
from collections.abc import Container, Iterable, Sequence

# Of a terminal (C0 and C1), and those that turn the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MOST_LISTED = 30  # names that a message lists in full


class ImagenetCaptionsError(Exception):
    """The base of every error that this package raises on purpose."""

    exit_code = 2


class InputError(ImagenetCaptionsError):
    """Something that the user gave cannot be used; nothing was half-written."""


class NotFoundError(InputError, FileNotFoundError):
    """A file, a folder, or an object of a store is not there; it is a FileNotFoundError too."""


class NetworkError(ImagenetCaptionsError):
    """Something behind a network cannot be reached, or failed; the same command may succeed later."""


class DiskFullError(ImagenetCaptionsError, OSError):
    """A disk or a quota is full; finished work is kept, and nothing is half-written. It is an OSError too."""


class StoppedEarly(ImagenetCaptionsError):
    """A run ended before its work did; the same command resumes it."""

    exit_code = 3


def interrupt(number: int, frame: object) -> None:
    """Raise KeyboardInterrupt with the number of a signal, as its handler."""
    raise KeyboardInterrupt(number)


def require_kind(name: str, value: object, kind: type | tuple[type, ...], what: str) -> None:
    """Raise InputError, which says `what` is needed, if a parameter is of another kind; True is not a number."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"`{name}` must be {what}, not {value!r:.80}")


def quoted(value: object, longest: int = 80) -> str:
    """Return a value in quotes for an error message, cut to `longest` characters.

    >>> quoted("n0144"), quoted("a" * 200, 8)
    ("'n0144'", "'aaaaaaa…'")
    """
    text = str(value)
    return repr(text if len(text) <= longest else text[: longest - 1] + "…")


def shortened(value: object, longest: int = 80) -> str:
    r"""Return a value on one line, without control characters, cut to `longest` characters.

    >>> shortened("Photo\nnot found"), shortened("a" * 200, 8)
    ('Photo not found', 'aaaaaaa…')
    """
    text = str(value)[: longest + 1]
    line = text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def first_of(names: Sequence[str], most: int = 3) -> str:
    """Return the first names for a message, and how many more there are.

    >>> first_of(["cat", "dog", "owl", "emu", "fox"]), first_of(["cat"])
    ('cat, dog, owl and 2 more', 'cat')
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def printable(text: str) -> str:
    """Return a text without control characters for a terminal: as the escapes of JSON; line ends and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def aligned(rows: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """Return the lines of a table for the terminal; the columns `left` begin alike, and all others end alike.

    >>> aligned([["set", "top-1"], ["imagenet-r", "9 %"]])
    ['set         top-1', 'imagenet-r    9 %']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at in left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Container[int] = ()) -> str:
    """Return a table of cells that are Markdown already; the columns `right` are aligned right."""
    rule = ["---:" if at in right else "---" for at in range(len(columns))]
    header, *lines = ["| " + " | ".join(cells) + " |" for cells in (columns, *rows)]
    return "\n".join([header, "|" + "|".join(rule) + "|", *lines])


def unknown_name(what: str, name: str, known: Iterable[str], advice: str = "") -> InputError:
    """Build the error for an unknown name, with the closest known names, all of them if they are few, or the advice.

    >>> str(unknown_name("preset", "RN5", ["RN50", "RN101"]))
    "no preset is called 'RN5'; did you mean RN50?"
    >>> str(unknown_name("preset", "unlike", ["RN50", "RN101"]))
    "no preset is called 'unlike'; known are RN50, RN101"
    """
    names = list(known)
    lower = {entry.lower(): entry for entry in names}
    near = [lower[entry] for entry in difflib.get_close_matches(str(name).lower()[:200], list(lower), n=3, cutoff=0.6)]
    said = f"no {what} is called {quoted(name)}"
    if near:
        return InputError(f"{said}; did you mean {', '.join(near)}?")
    if len(names) <= _MOST_LISTED:
        return InputError(f"{said}; known are {', '.join(names)}")
    return InputError(f"{said}; {advice or f'it is like none of the {len(names)} known names'}")
