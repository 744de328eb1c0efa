"""Everything this package raises on purpose.

ImagenetCaptionsError
├── InputError        bad input or settings: the user has to change something   exit code 2
└── StoppedEarly      work is left and kept: the same command goes on with it   exit code 3

A message says what happened, shows the value, and says what to do. The command line prints it as it is and exits
with the class's code; anything else that escapes is a bug of ours and keeps its traceback.
"""


class ImagenetCaptionsError(Exception):
    """The base of every error that this package raises on purpose."""

    exit_code = 2


class InputError(ImagenetCaptionsError):
    """Something that the user gave cannot be used; nothing was half-written."""


class StoppedEarly(ImagenetCaptionsError):
    """A run ended before its work did; the same command resumes it."""

    exit_code = 3


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
    line = "".join(character if character.isprintable() else " " for character in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"
