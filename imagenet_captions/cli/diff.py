"""diff: what two datasets differ in."""

from pathlib import Path
from typing import Annotated

import typer

from imagenet_captions.cli.app import command, in_flags
from imagenet_captions.cli.flags import refuse_without_effect
from imagenet_captions.cli.group import SPECS
from imagenet_captions.cli.options import Overwrite


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
    overwrite: Overwrite = False,
) -> None:
    """Compare two datasets: ids lost and gained, texts changed, by field and class."""
    from imagenet_captions.dataset.diff_report import diff as compare
    from imagenet_captions.dataset.diff_report import format_summary

    if out is None:
        refuse_without_effect("without --out", "overwrite")
    summary = format_summary(compare(a, b, raw, out, overwrite), str(a), str(b))
    typer.echo(in_flags(summary, SPECS["diff"]))
    if out is not None:
        typer.echo(out)
