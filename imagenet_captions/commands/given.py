"""Paths and URLs as they are typed.

typer makes a `Path` of a parameter that is annotated as one; some versions do so even after the parameter's own
parser, and `Path("s3://bucket")` is the folder s3:/bucket. So a parameter for a path or URL is annotated `Place` or
`PlaceHere`: a `Path` for the type checker, a plain text for typer.
"""

from pathlib import Path
from typing import TYPE_CHECKING


class Given(str):
    """A path or URL as it was typed; `app.command` opens it, where a mistake in it becomes one sentence."""


class GivenHere(Given):
    """A path as it was typed for a command that works on this machine alone; a URL is a mistake."""


if TYPE_CHECKING:
    Place = Path
    PlaceHere = Path
else:
    Place = Given
    PlaceHere = GivenHere


def path(given: str | Path) -> Path:
    """The parser of every `Place`."""
    return Given(given) if isinstance(given, str) else given  # type: ignore[return-value]  # a Path once it is opened


def local_path(given: str | Path) -> Path:
    """The parser of every `PlaceHere`."""
    return GivenHere(given) if isinstance(given, str) else given  # type: ignore[return-value]


local_path.__name__ = path.__name__  # which help shows as the kind of value
