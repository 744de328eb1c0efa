"""diff: what two datasets differ in."""

from pathlib import Path
from typing import Annotated

import typer

from imagenet_captions.commands.app import command


@command
def diff(
    a: Annotated[Path, typer.Argument(help="A dataset folder, such as one made from the release.")],
    b: Annotated[Path, typer.Argument(help="Another one, such as a rebuild.")],
    raw: Annotated[bool, typer.Option("--raw", help="Compare the texts as the source gave them, too.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the ids: a .tsv or .json file, or a folder that gets counts and ids.",
            metavar="PATH",
        ),
    ] = None,
) -> None:
    """Compare two datasets: ids lost and gained, texts changed, by field and class."""
    from imagenet_captions.diff_report import compare, format_summary

    typer.echo(format_summary(compare(a, b, raw, out), str(a), str(b)))
    if out is not None:
        typer.echo(out)
