"""The typer application, and what every command has in common: one sentence for a mistake, and its exit code.

The modules of this package do without `from __future__ import annotations`: typer would read the flags of all commands
out of strings, twice, at every start.
"""

import errno
import functools
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec

import typer

from imagenet_captions.commands.given import Given, GivenHere
from imagenet_captions.commands.secrets import Commands
from imagenet_captions.errors import ImagenetCaptionsError

P = ParamSpec("P")

app = typer.Typer(
    name="imagenet-captions",
    cls=Commands,
    help="Rebuild ImageNet-Captions: ImageNet training images with the text their photographers wrote on Flickr.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# The operating system's answers that a user can do something about; everything else is a bug and keeps its traceback.
_USERS_TO_MEND = {
    errno.ENOSPC: "no space is left on the disk: free some and run the same command again, finished work is kept",
    errno.EDQUOT: "your disk quota is used up: free some and run the same command again, finished work is kept",
    errno.EACCES: "permission denied: check who may read and write there",
    errno.EPERM: "permission denied: check who may read and write there",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.ENAMETOOLONG: "the name is too long: choose a shorter one",
}


_TALKATIVE = ("botocore", "aiobotocore", "s3fs", "gcsfs", "httpx")  # of where they found credentials, for one


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Register a command that answers a user's mistake with one sentence and its exit code, never a traceback."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        for library in _TALKATIVE:
            logging.getLogger(library).setLevel(logging.WARNING)
        try:
            function(*args, **{name: _opened(value) for name, value in kwargs.items()})
        except ImagenetCaptionsError as error:
            typer.echo(f"imagenet-captions: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo(
                "imagenet-captions: interrupted; what was finished is kept, run the same command again", err=True
            )
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno not in _USERS_TO_MEND:
                raise
            where = f"{error.filename}: " if error.filename else ""
            typer.echo(f"imagenet-captions: {where}{_USERS_TO_MEND[error.errno]}", err=True)
            raise typer.Exit(2) from None

    return app.command()(run)


def _opened(value: Any) -> Any:
    """The place that a path or URL names; whatever else a command takes as it is."""
    if isinstance(value, Given):
        from imagenet_captions.storage.places import local_place, place

        return local_place(value) if isinstance(value, GivenHere) else place(str(value))
    return [_opened(each) for each in value] if isinstance(value, list) else value


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"imagenet-captions {version('imagenet-captions')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Rebuild ImageNet-Captions: ImageNet training images with the text their photographers wrote on Flickr."""
