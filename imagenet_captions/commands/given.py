"""Paths and URLs as they are typed."""

from pathlib import Path


class Given(str):
    """A path or URL as it was typed; `app.command` opens it, where a mistake in it becomes one sentence."""


def path(given: str | Path) -> Path:
    """The parser of every path that may be a URL: `pathlib` would make s3:/bucket of s3://bucket."""
    return Given(given) if isinstance(given, str) else given  # type: ignore[return-value]  # a Path once it is opened
