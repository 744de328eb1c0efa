"""URLs with secrets in them, which no command takes."""

from collections.abc import Sequence

# Their values are searched for or written, and never opened.
_TEXTS = ("--contains", "--matches", "--caption")


def refuse_secrets_in(arguments: Sequence[str]) -> None:
    """Refuse a command line with a URL that may hold a secret, before a message could quote it."""
    if not any(":" in argument or "%" in argument for argument in arguments):
        return  # no URL, plain or encoded; the help stays as fast as it is
    from imagenet_captions.storage.places import refuse_secrets

    for before, argument in zip(("", *arguments), arguments, strict=False):
        if before not in _TEXTS and not argument.startswith(tuple(f"{flag}=" for flag in _TEXTS)):
            refuse_secrets(argument)
