"""stats, diff and explain: what a dataset holds, what two datasets differ in, and the life of one id."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from imagenet_captions.cli.app import command
from imagenet_captions.cli.flags import refuse_without_effect
from imagenet_captions.cli.group import SPECS
from imagenet_captions.cli.messages import in_flags
from imagenet_captions.cli.options import Overwrite
from imagenet_captions.statistics.thumbnails import Thumbnails
from imagenet_captions.storage.places import Place


@command
def stats(
    dataset: Annotated[Place, typer.Argument(help="A dataset folder.")],
    images: Annotated[
        Place | None,
        typer.Option(help="ImageNet as you have it, to count the images that have captions. Default: those inside."),
    ] = None,
    csv: Annotated[Place | None, typer.Option(help="Write a CSV file with a line per class.", metavar="FILE")] = None,
    markdown: Annotated[Place | None, typer.Option(help="Write the tables as Markdown.", metavar="FILE")] = None,
    html: Annotated[
        Place | None,
        typer.Option(help="Write an HTML page with plots and a searchable gallery.", metavar="FILE"),
    ] = None,
    thumbnails: Annotated[
        Thumbnails,
        typer.Option(help="Photos in the page: those whose license allows sharing, all (for a page you keep) or none."),
    ] = Thumbnails.OPEN,
    counts: Annotated[
        Place | None,
        typer.Option(help="Write wnid and rows per class as TSV, for `filter --like`.", metavar="FILE"),
    ] = None,
    frequencies: Annotated[
        Place | None,
        typer.Option(help="Write class name and rows per class as TSV, without a header.", metavar="FILE"),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    from imagenet_captions.images.sources import ImageIndex
    from imagenet_captions.statistics import render
    from imagenet_captions.statistics.collect import collect
    from imagenet_captions.statistics.report import check_installed, report
    from imagenet_captions.statistics.sections import sections
    from imagenet_captions.storage.outputs import producing

    if html:
        check_installed()
    else:
        refuse_without_effect("without --html", "thumbnails")
    outputs = [file for file in (csv, markdown, counts, frequencies, html) if file is not None]
    if not outputs:
        refuse_without_effect("without a file to write", "overwrite")
    with producing(outputs, [dataset, images], overwrite) as partials:
        index = None if images is None else ImageIndex(images)
        measured = collect(dataset, index)
        tables = sections(measured)
        typer.echo(render.as_text(tables))
        texts: list[tuple[Place | None, Callable[[], str]]] = [
            (csv, lambda: render.per_class_csv(measured)),
            (markdown, lambda: render.as_markdown(tables)),
            (counts, lambda: render.counts_tsv(measured)),
            (frequencies, lambda: render.frequencies_tsv(measured)),
            (html, lambda: report(dataset, measured, index, thumbnails)),
        ]
        asked = [text for file, text in texts if file is not None]
        for partial, text in zip(partials, asked, strict=True):
            partial.write_text(text(), encoding="utf-8", newline="")
    for file in outputs:
        typer.echo(file)


@command
def diff(
    a: Annotated[Place, typer.Argument(help="A dataset folder, such as one made from the release.")],
    b: Annotated[Place, typer.Argument(help="Another dataset folder, such as a rebuild.")],
    raw: Annotated[bool, typer.Option("--raw", help="Compare the texts as the source gave them, too.")] = False,
    out: Annotated[
        Place | None,
        typer.Option(
            help="Write the ids: a .tsv or .json file, or a folder that gets counts and ids.",
            metavar="PATH",
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    from imagenet_captions.dataset.diff import diff as compare
    from imagenet_captions.dataset.diff import format_summary

    if out is None:
        refuse_without_effect("without --out", "overwrite")
    summary = format_summary(compare(a, b, raw, out, overwrite), str(a), str(b))
    typer.echo(in_flags(summary, SPECS["diff"]))
    if out is not None:
        typer.echo(out)


@command
def explain(
    dataset: Annotated[Place, typer.Argument(help="A dataset folder.")],
    image_id: Annotated[str, typer.Argument(help="An id such as n01440764_10026, or the name of its file.")],
    work: Annotated[
        Path | None,
        typer.Option(help="The work folder of the build: URL list, Flickr's answer, and raw texts of a dropped id."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    from json import dumps

    from imagenet_captions.pipeline.explaining.explain import explain as explain_id

    found = explain_id(dataset, image_id, work)
    typer.echo(dumps(found.as_dict(), ensure_ascii=False, indent=2) if json else found)
