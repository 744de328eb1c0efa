"""URLs with secrets in them, which no command takes."""

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperGroup

from imagenet_captions.errors import InputError

# Their values are searched for or written, and never opened.
_TEXTS = ("--contains", "--matches", "--caption")


class Commands(TyperGroup):
    """The commands. A URL that may hold a secret is refused first of all, before a message could quote it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            _refuse_secrets(args)
        except InputError as error:
            typer.echo(f"imagenet-captions: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        return super().parse_args(ctx, args)


def _refuse_secrets(arguments: Sequence[str]) -> None:
    from imagenet_captions.storage.places import refuse_secrets

    for before, argument in zip(("", *arguments), arguments, strict=False):
        if before not in _TEXTS and not argument.startswith(tuple(f"{flag}=" for flag in _TEXTS)):
            refuse_secrets(argument)
