"""Define the typer application, and run its commands: an error becomes one sentence and an exit code.

The modules of this folder do without `from __future__ import annotations`: `flags` reads the types in a signature.
The help of the program imports little beside typer; the rest is imported when a command runs.
"""

import errno
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from imagenet_captions.cli.group import SPECS, Command, Group, Spec
from imagenet_captions.cli.help import PROGRAM
from imagenet_captions.errors import ImagenetCaptionsError

app = typer.Typer(
    name=PROGRAM,
    cls=Group,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command that answers a user's mistake with one sentence and its exit code, never a traceback."""
    spec = SPECS.add(function)

    def run(**texts: Any) -> None:
        from imagenet_captions.cli.flags import read_values
        from imagenet_captions.cli.messages import in_flags, showing_messages

        try:
            with showing_messages(spec):
                function(**read_values(spec.flags, texts))
        except ImagenetCaptionsError as error:
            typer.echo(f"imagenet-captions: {in_flags(str(error), spec)}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            typer.echo(
                "imagenet-captions: interrupted; what was finished is kept, run the same command again", err=True
            )
            raise typer.Exit(130) from None
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of the output is gone; typer ends quietly
                raise
            from imagenet_captions.storage.faults import sentence_of

            typer.echo(f"imagenet-captions: {sentence_of(error)}", err=True)
            raise typer.Exit(2) from None

    _declare(run, spec)
    app.command(spec.name, cls=Command, context_settings={"help_option_names": ["-h", "--help"]})(run)
    return function


def _declare(run: Callable[..., None], spec: Spec) -> None:
    """Declare the command's flags to typer, by the signature of the function that it calls."""
    parameters = [flag.for_typer() for flag in spec.flags]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}


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
